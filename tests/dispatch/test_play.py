"""A session as a graph: each request once, none before those that it waits for."""

import random

from hypothesis import given
from hypothesis import strategies as st

from llmbench_locust.dispatch.tickets import Play, Ticket, from_message, to_message
from llmbench_locust.workload.sample import SampleRequest


@st.composite
def graphs(draw):
    """Parents of each request, by turn; the first one has none."""
    size = draw(st.integers(1, 8))
    return [
        sorted(draw(st.sets(st.integers(0, turn - 1), max_size=3)) if turn else ())
        for turn in range(size)
    ]


def session(parents, delays=None):
    tickets = [
        Ticket(
            10 + turn,
            float("nan"),
            SampleRequest(
                f"q{turn}", 1, 1, conversation=0, turn=turn, parents=tuple(p), history=-1
            ),
            think_s=delays[turn] if delays else 0.0,
        )
        for turn, p in enumerate(parents)
    ]
    head = tickets[0]
    head.following = tickets[1:]
    return from_message(to_message(head))


def played(head, failing, seed):
    """(time of the send by turn, end by turn, dropped indexes), answering in a random order."""
    rng, play = random.Random(seed), Play(head, chat=True)
    flying, sent, ended, dropped = [head], {0: 0.0}, {}, []
    now = 0.0
    for root in play.roots():
        flying.append(root)
        sent[root.sample.turn] = now
    while flying:
        ticket = flying.pop(rng.randrange(len(flying)))
        now += rng.random()
        ended[ticket.sample.turn] = now
        if ticket.sample.turn in failing:
            dropped += play.failed(ticket)
            continue
        for after, due_s in play.answered(ticket, now, "text"):
            assert after.sample.turn not in sent
            sent[after.sample.turn] = due_s
            flying.append(after)
    assert play.over
    assert play.stop() == []
    return sent, ended, dropped


@given(graphs(), st.integers(0, 99), st.lists(st.floats(0, 5), min_size=8, max_size=8))
def test_each_request_once_and_its_delay_after_the_last_of_its_parents(parents, seed, delays):
    sent, ended, dropped = played(session(parents, delays), set(), seed)
    assert sorted(sent) == list(range(len(parents)))
    assert dropped == []
    for turn, before in enumerate(parents):
        if turn and before:
            assert sent[turn] == delays[turn] + max(ended[p] for p in before)


@given(graphs(), st.integers(0, 99), st.sets(st.integers(0, 7)))
def test_a_failure_ends_what_hangs_on_it_and_nothing_else(parents, seed, failing):
    sent, _, dropped = played(session(parents), failing, seed)
    hopeless = set()
    for turn, before in enumerate(parents):
        if any(p in hopeless or p in failing for p in before):
            hopeless.add(turn)
    assert sorted(dropped) == [10 + turn for turn in sorted(hopeless)]
    assert sorted(sent) == [t for t in range(len(parents)) if t not in hopeless]


def test_the_history_is_that_of_the_turn_it_names():
    first = SampleRequest("a", 1, 1, conversation=0, turn=0)
    child = SampleRequest("b", 1, 1, conversation=0, turn=1, parents=(0,), history=-1)
    last = SampleRequest("c", 1, 1, conversation=0, turn=2, parents=(0, 1), history=0)
    head = Ticket(0, 0.0, first, following=[Ticket(1, 0.0, child), Ticket(2, 0.0, last)])
    play = Play(head, chat=True)
    ((second, _),) = play.answered(head, 1.0, "A")
    assert second.sample.chat_messages is None
    ((third, due_s),) = play.answered(second, 2.0, "B")
    assert due_s == 2.0
    assert [m["content"] for m in third.sample.chat_messages] == ["a", "A", "c"]


def test_what_is_left_is_given_up_when_the_run_stops():
    play = Play(session([[], [0], [1]]), chat=True)
    assert play.stop() == [11, 12]


def test_a_pace_counts_from_the_start_and_a_late_response_moves_it():
    head = session([[], [0], [1]])
    for ticket in head.following:
        ticket.pace_s = 5.0
    play = Play(head, chat=True)
    ((second, due_s),) = play.answered(head, 12.0, "A", 10.0)
    assert due_s == 15.0
    ((_, due_s),) = play.answered(second, 21.0, "B", 15.0)
    assert due_s == 21.0
