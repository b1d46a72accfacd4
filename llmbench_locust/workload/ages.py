"""``--user-rate``: when the sessions of users begin, and how old they are at the start. Pure.

Each of N users plays one session after another and sends a request every r seconds. Were all to
begin with their first turn, contexts would be short at first and the cache empty of them. So the
first session of each user begins at a random turn, with the turns before it, and made-up responses
to them, as its history.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload.multi_turn import next_request
from llmbench_locust.workload.random_tokens import row, tokens_without
from llmbench_locust.workload.sample import SampleRequest
from llmbench_locust.workload.tokenizer import Tokenizer


def session_starts(
    turns: Sequence[int], users: int, rate_s: float, seed: int
) -> NDArray[np.float64]:
    """When each session begins (float64, seconds, ascending). ``turns``: of each session, in the
    order in which they begin; ``rate_s``: between two turns of a user.
    """
    rng = random.Random(seed)
    # One user begins in each of N equal parts of the first interval.
    free = [(rate_s * (user + rng.random()) / users, user) for user in range(users)]
    heapq.heapify(free)
    starts = np.empty(len(turns))
    for place, count in enumerate(turns):
        starts[place], user = heapq.heappop(free)
        heapq.heappush(free, (float(starts[place]) + count * rate_s, user))
    return starts


def with_ages(
    samples: list[SampleRequest], config: RunConfig, tokenizer: Tokenizer | None
) -> list[SampleRequest]:
    """``samples`` whose first ``--users`` sessions begin at a random turn, where each turn follows
    the one before.
    """
    if config.user_rate_s is None or tokenizer is None:
        return samples
    rng = random.Random(config.seed)
    found: list[SampleRequest] = []
    for place, (_, group) in enumerate(groupby(samples, key=lambda s: s.conversation)):
        session = list(group)
        age = rng.randrange(len(session)) if place < (config.users or 0) else 0
        found += _aged(session, age, config, tokenizer) if _in_a_row(session) else session
    return found


def _in_a_row(session: Sequence[SampleRequest]) -> bool:
    return all(
        list(s.waits_for) == [turn - 1] and s.continues in (-1, turn - 1)
        for turn, s in enumerate(session)
        if turn
    )


def _aged(
    session: list[SampleRequest], age: int, config: RunConfig, tokenizer: Tokenizer
) -> list[SampleRequest]:
    head, chat = session[0], config.backend_info.chat
    allowed = tokens_without(tokenizer, tokenizer.all_special_ids)
    for turn, sample in enumerate(session[1 : age + 1]):
        if sample.continues < 0:
            head = sample
        else:
            ids = row(allowed, 7919 * turn, head.expected_output_len or 1)
            head = next_request(head, tokenizer.decode(ids), sample, tokenizer, chat)
    first = replace(head, turn=0, parents=None, history=None)
    rest = [
        replace(s, turn=turn, parents=None, history=None if s.continues >= 0 else -1)
        for turn, s in enumerate(session[age + 1 :], 1)
    ]
    return [first, *rest]
