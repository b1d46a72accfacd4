"""Users that send at their own pace, and sessions that are old when a run begins."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from llmbench_locust.run.schedule import make_tickets
from llmbench_locust.workload.ages import session_starts
from llmbench_locust.workload.load import load_requests
from tests.workload.common import config

CHATS = ("--multi-turn", "--multi-turn-num-turns", 4, "--random-input-len", 20,
         "--per-turn-input-len", 10, "--random-output-len", 6, "--num-sessions", 20)  # fmt: skip


@given(st.lists(st.integers(1, 6), min_size=1, max_size=60), st.integers(1, 8), st.integers(0, 99))
def test_each_user_sends_at_its_rate_and_no_two_users_together(turns, users, seed):
    starts = session_starts(turns, users, 2.0, seed)
    assert np.all(np.diff(starts) >= 0)
    sends = sorted(
        start + 2.0 * k for start, n in zip(starts, turns, strict=True) for k in range(n)
    )
    # While sessions are left to begin, each interval of 2 s has one request of each user.
    for begin in np.arange(0.0, starts[-1] - 2.0, 2.0):
        assert sum(begin <= send < begin + 2.0 for send in sends) == users


def loaded(tokenizer, *flags, users=5):
    parsed = config("--backend", "openai-chat", *CHATS, *flags, "--user-rate", 2, users=users)
    return parsed, load_requests(parsed, tokenizer)


def test_the_first_session_of_each_user_is_somewhere_in_its_middle(tokenizer):
    parsed, samples = loaded(tokenizer)
    sizes = [sum(s.conversation == c for s in samples) for c in range(20)]
    assert sizes[5:] == [4] * 15
    assert all(1 <= size <= 4 for size in sizes[:5])
    assert min(sizes) < 4
    for sample in samples:
        if sample.turn == 0 and sample.conversation < 5:
            age = 4 - sizes[sample.conversation]
            messages = sample.chat_messages or [None]
            # Each turn before has its message and a made-up response.
            assert len(messages) == 1 + 2 * age
            assert abs(sample.prompt_len - (20 + age * 16)) <= 2 * age + 1
    tickets = make_tickets(parsed, samples)
    assert {t.pace_s for ticket in tickets for t in ticket.following} == {2.0}
    assert sum(ticket.due_s < 2.0 for ticket in tickets) >= 5


def test_ages_follow_from_the_seed(tokenizer):
    (_, one), (_, same), (_, other) = (loaded(tokenizer, "--seed", n) for n in (1, 1, 2))
    assert [s.chat_messages for s in one] == [s.chat_messages for s in same]
    assert [s.turn for s in one] != [s.turn for s in other]
