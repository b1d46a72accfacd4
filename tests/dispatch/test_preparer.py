"""Requests are encoded ahead of their time, each at most once, never one that was already sent."""

import gevent
import pytest

from llmbench_locust.dispatch.preparer import PREPARED, Preparer
from llmbench_locust.dispatch.tickets import Ticket
from llmbench_locust.transport.gaps import Gaps
from llmbench_locust.workload.sample import SampleRequest
from tests.waiting import until


def some(n):
    return [Ticket(i, float(i), SampleRequest(f"p{i}", 1, 1, request_id=f"r{i}")) for i in range(n)]


@pytest.fixture
def encoded():
    return []


@pytest.fixture
def preparer(encoded):
    def encode(sample, model):
        if sample.prompt == "p3":
            raise ValueError("cannot be made")
        encoded.append(sample.prompt)
        return f"request of {sample.prompt}"

    made = Preparer(encode, Gaps())
    yield made
    made.close()


def settle(encoded, number):
    """Until so many are encoded, and no more."""
    until(lambda: len(encoded) >= number)
    gevent.sleep(0.05)
    assert len(encoded) == number


def test_a_bounded_number_lies_ready_and_more_follow(preparer, encoded):
    tickets = some(1000)
    preparer.add(tickets)
    settle(encoded, PREPARED)
    taken = []
    for ticket in tickets:
        taken.append(preparer.take(ticket))
        gevent.sleep(0.0005)
    assert len(encoded) == len(set(encoded))
    assert taken[3] is None  # what cannot be made fails when it is due, where its sender sees why
    there = [
        (ticket, request)
        for ticket, request in zip(tickets, taken, strict=True)
        if request is not None
    ]
    assert len(there) > 900
    assert all(request == f"request of {ticket.sample.prompt}" for ticket, request in there)


def test_what_was_sent_before_its_turn_is_not_encoded(preparer, encoded):
    tickets = some(20)
    preparer.add(tickets)
    for ticket in tickets[:10]:
        assert preparer.take(ticket) is None  # no turn of the loop yet
    settle(encoded, 10)
    assert encoded == [f"p{i}" for i in range(10, 20)]
    assert preparer.take(tickets[10]) == "request of p10"
    assert preparer.take(tickets[10]) is None


def test_later_turns_are_encoded_before_all_others(preparer, encoded):
    tickets = some(2000)
    preparer.add(tickets[1000:])
    settle(encoded, PREPARED)
    preparer.add(tickets[10:], turns=True)
    settle(encoded, 2 * PREPARED)
    assert encoded[PREPARED:] == [f"p{i}" for i in range(10, 10 + PREPARED)]
    assert preparer.take(tickets[10]) == "request of p10"
