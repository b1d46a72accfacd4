"""``--user-rate``: start times of the users' sessions, and the turn that each user starts at. Pure.

Each of N users runs one session after another and sends a request every r seconds. If all users
began with a first turn, contexts would be short and uncached at first. So each user's first session
starts at a random turn. Its history is the earlier turns with synthetic responses.
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
    """The start time of each session (float64, seconds, ascending). ``turns``: number of turns of
    each session, in start order; ``rate_s``: seconds between two turns of a user.
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
    """``samples``, with the first ``--users`` sessions starting at a random turn. A session that is
    not a plain sequence of turns is unchanged.
    """
    if config.user_rate_s is None or tokenizer is None:
        return samples
    rng = random.Random(config.seed)
    found: list[SampleRequest] = []
    for place, (_, group) in enumerate(groupby(samples, key=lambda s: s.conversation)):
        session = list(group)
        age = rng.randrange(len(session)) if place < (config.users or 0) else 0
        found += _aged(session, age, config, tokenizer) if _is_sequence(session) else session
    return found


def _is_sequence(session: Sequence[SampleRequest]) -> bool:
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
