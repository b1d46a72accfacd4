"""The book-keeping of a run: nothing is counted twice, nothing gets lost, whatever the workers
say.
"""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from llmbench_locust.dispatch.ledger import DONE, PLANNED, Ledger
from llmbench_locust.dispatch.permits import Holder, Permits, split


def ints(*values):
    return np.array(values, np.int64)


def test_the_way_of_a_request():
    ledger = Ledger(3)
    for index in (0, 1, 2):
        ledger.deliver(0, ints(index), 10)
    assert ledger.pending == {0: 3}
    assert ledger.pending_bytes == {0: 30}
    ledger.send(0, ints(0, 1))
    assert (ledger.sent_count, ledger.pending[0]) == (2, 1)
    assert ledger.finish(0, ints(0, 1, 2)).tolist() == [0, 1, 2]
    assert ledger.finished
    assert (ledger.sent_count, ledger.done_count, ledger.pending[0]) == (3, 3, 0)


def test_an_outcome_counts_once_and_only_from_its_owner():
    ledger = Ledger(2)
    ledger.deliver(0, ints(0))
    ledger.deliver(1, ints(1))
    assert ledger.finish(0, ints(0, 1)).tolist() == [0]
    assert ledger.finish(0, ints(0)).tolist() == []
    assert not ledger.finished


def test_a_lost_worker_leaves_what_it_may_have_sent_and_gives_back_the_rest():
    ledger = Ledger(4)
    ledger.deliver(0, ints(0, 1, 2, 3))
    ledger.finish(0, ints(0))
    ledger.send(0, ints(1))
    failed, returned = ledger.lose(0, np.array([True, True, True, False]))
    assert failed.tolist() == [1, 2]
    assert returned.tolist() == [3]
    assert ledger.state.tolist() == [DONE, DONE, DONE, PLANNED]
    assert ledger.finish(0, ints(3)).tolist() == []  # it speaks up again: too late
    ledger.deliver(1, ints(3))
    ledger.finish(1, ints(3))
    assert ledger.finished


@given(
    st.lists(
        st.tuples(st.sampled_from("dsfnlc"), st.integers(0, 2), st.integers(0, 9)), max_size=80
    )
)
def test_counts_always_agree_with_the_states(steps):
    ledger = Ledger(10)
    for what, worker, index in steps:
        if what == "d" and ledger.state[index] == PLANNED:
            ledger.deliver(worker, ints(index))
        elif what == "s":
            ledger.send(worker, ints(index))
        elif what == "f":
            ledger.finish(worker, ints(index))
        elif what == "n":
            ledger.never(worker, ints(index))
        elif what == "l":
            ledger.lose(worker, np.arange(10) <= index)
        elif what == "c" and index == 0:
            ledger.cancel()
        assert ledger.done_count == np.count_nonzero(ledger.state == DONE)
        assert ledger.never_count == np.count_nonzero(ledger.state == 4)
        assert sum(ledger.pending.values()) == np.count_nonzero(ledger.state == 1)
        assert ledger.finished == bool(np.all(ledger.state >= DONE))


def test_split():
    assert split(10, 4) == [3, 3, 2, 2]
    assert split(2, 3) == [1, 1, 0]


@given(
    cap=st.integers(1, 40),
    workers=st.integers(1, 5),
    steps=st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 40), st.integers(0, 40)), max_size=40
    ),
)
def test_permits_are_never_more_than_the_cap(cap, workers, steps):
    permits = Permits(cap)
    for worker, share in enumerate(split(cap, workers)):
        permits.join(worker, share)
    recalled: dict[int, int] = {}
    for worker, free, waiting in steps:
        if worker not in permits.holders:
            continue
        holder = permits.holders[worker]
        holder.free, holder.waiting = min(free, holder.held - holder.recalled), waiting
        _, recalls = permits.balance()
        recalled.update(recalls)
        if worker in recalled:
            permits.returned(worker, recalled.pop(worker))
        assert permits.pool >= 0
        assert all(h.held >= 0 for h in permits.holders.values())
        assert permits.pool + sum(h.held for h in permits.holders.values()) == cap


def test_a_free_permit_goes_to_where_requests_wait():
    permits = Permits(4)
    permits.join(0, 2)
    permits.join(1, 2)
    permits.holders[0] = Holder(held=2, free=2, waiting=0)
    permits.holders[1] = Holder(held=2, free=0, waiting=5)
    assert permits.balance() == ({}, {0: 2})
    assert permits.balance() == ({}, {})  # asked once
    permits.returned(0, 2)
    assert permits.balance() == ({1: 2}, {})
    permits.leave(1)
    assert permits.pool == 4
