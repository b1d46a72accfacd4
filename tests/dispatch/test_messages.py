"""Messages survive the way through msgpack; a malformed one, or a lost report, costs nothing."""

from __future__ import annotations

import logging
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench_locust.dispatch import reports
from llmbench_locust.dispatch.ledger import TaskLedger
from llmbench_locust.dispatch.messages import (
    TO_MASTER,
    TO_WORKER,
    Ack,
    Inbox,
    Malformed,
    Plan,
    Report,
    Tickets,
    decode,
    encode,
)
from llmbench_locust.dispatch.reports import Outbox, Seen
from llmbench_locust.dispatch.tickets import Ticket
from llmbench_locust.records import RecordColumns, RequestRecord
from llmbench_locust.users.wire import WireConfig
from llmbench_locust.workload.sample import SampleRequest


def report(**changed: Any) -> Report:
    figures: dict[str, Any] = dict.fromkeys(("in_flight", "waiting", "free", "offered"), 1)
    figures |= dict.fromkeys(("overflow", "resent", "most_connections", "most_in_use"), 2)
    figures |= dict.fromkeys(("idle_excess_s", "queue_wait_s", "lapsed_s", "cpu_s", "clock_s"), 0.5)
    figures |= {
        "kernel_times": True,
        "reader": "native",
        "shared_chunks": 0,
        "token_events": 9,
        "closed": False,
    }
    figures |= {"records": None, "sent": np.array([3, 4]), "unsent": np.array([], np.int64)}
    figures |= dict.fromkeys(("ttft_s", "send_lag_s", "loop_lag_s"), np.array([0.25]))
    return Report("run", -1, **(figures | changed))


def carried(message: Any) -> Any:
    return decode(message.kind, msgpack.unpackb(msgpack.packb(encode(message))))


def test_every_message_has_a_kind_of_its_own() -> None:
    kinds = [message.kind for message in (*TO_WORKER, *TO_MASTER)]
    assert len(set(kinds)) == len(kinds) == 15


def test_what_is_encoded_is_decoded() -> None:
    ticket = Ticket(5, 1.5, SampleRequest("hello", 1, 2, "id"))
    assert carried(Tickets("run", [ticket])).tickets[0].sample == ticket.sample
    wire = WireConfig("openai", ["http://host"], "/v1/completions", "m")
    plan = Plan("run", None, 3, True, False, False, "p-", [wire])
    assert carried(plan) == plan
    sent = report(records=RecordColumns.from_records([RequestRecord(3, "r3", worker="w")]))
    got = carried(sent)
    assert got.sent.tolist() == [3, 4]
    assert got.ttft_s.tolist() == [0.25]
    assert got.records.texts["request_id"] == ["r3"]
    assert (got.kernel_times, got.token_events, got.seq) == (True, 9, -1)


@given(
    st.sampled_from([m.kind for m in (*TO_WORKER, *TO_MASTER)] + ["unknown"]),
    st.one_of(
        st.none(),
        st.integers(),
        st.dictionaries(
            st.sampled_from(["run", "seq", "tickets", "wires", "records", "sent"]),
            st.one_of(st.none(), st.text(), st.binary(), st.integers(), st.lists(st.integers())),
        ),
    ),
)
def test_what_is_malformed_is_malformed_and_nothing_else(kind: str, data: Any) -> None:
    try:
        decode(kind, data)
    except Malformed:
        return
    assert kind in [m.kind for m in (*TO_WORKER, *TO_MASTER)]


def test_a_malformed_message_is_logged_once_and_the_next_one_is_handled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seen: list[int] = []
    inbox = Inbox({Ack: lambda message, sender: seen.append(message.seq)})
    with caplog.at_level(logging.WARNING):
        for data in ({"run": "r"}, {"run": "r", "seq": "one"}, b"\xff", {"run": "r", "seq": 1}):
            inbox.receive(Ack.kind, data, "w")
    assert seen == [1]
    assert len(caplog.records) == 1


def test_a_report_is_sent_until_it_is_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(reports, "perf_counter", lambda: now[0])
    sent: list[int] = []
    outbox = Outbox(lambda message: sent.append(message.seq))
    outbox.send(report(sent=np.array([], np.int64)))  # figures only: nobody waits for it
    outbox.send(report())
    outbox.send(report())
    assert (sent, len(outbox)) == ([-1, 0, 1], 2)
    outbox.acknowledged(0)
    for later in (1.9, 2.1, 3.0, 6.2):
        now[0] = 100.0 + later
        outbox.send_again(now[0])
    assert sent == [-1, 0, 1, 1, 1]
    outbox.acknowledged(1)
    assert len(outbox) == 0


@given(st.permutations(list(range(30))), st.lists(st.integers(0, 29)))
def test_each_report_counts_once_and_little_is_remembered(
    order: list[int], again: list[int]
) -> None:
    seen = Seen()
    counted = [seq for seq in order if seen.add(seq)]
    assert counted == order
    assert not any(seen.add(seq) for seq in again)
    assert len(seen) == 0


def test_requests_of_tasks_are_numbered_as_they_are_told_of() -> None:
    ledger = TaskLedger()
    first = ledger.indexes(7, np.array([1, 0]))
    other = ledger.indexes(8, np.array([0]))
    assert sorted([*first.tolist(), *other.tolist()]) == [0, 1, 2]
    assert ledger.indexes(7, np.array([1, 0])).tolist() == first.tolist()
    ledger.send(7, first)
    assert ledger.finish(7, first[:1]).tolist() == first[:1].tolist()
    assert ledger.finish(7, first[:1]).tolist() == []
    ledger.never(7, first[1:])
    assert (ledger.sent_count, ledger.done_count, ledger.never_count) == (2, 1, 1)
    assert not ledger.finished
    failed, returned = ledger.lose(8, np.ones(3, np.bool_))
    assert (failed.tolist(), returned.tolist()) == (other.tolist(), [])
    assert ledger.finished
    many = ledger.indexes(9, np.arange(5000))
    assert len(set(many.tolist()) | {0, 1, 2}) == 5003
