"""Figures of whole sessions."""

import pytest

from llmbench_locust.metrics.groups import sessions
from llmbench_locust.results.console import render_console
from tests.metrics.rows import columns, failed, row
from tests.results import runs

NAN = float("nan")


def test_a_session_that_was_lost_is_one_that_is_not_complete():
    """Session 0 is whole: 2 s and 3 requests. 1 began and was lost, of 2 nothing is known."""
    rows = [row(i, float(i), 0.5, tail=-0.5, conversation=0, turn=i) for i in range(2)]
    rows.append(row(2, 1.5, 0.5, conversation=0, turn=2))
    rows.append(row(3, 0.0, 0.1, conversation=1, turn=0))
    rows.append(failed(4, NAN, NAN, kind="worker_lost", conversation=1, turn=1))
    rows.append(failed(5, NAN, NAN, kind="worker_lost", conversation=2, turn=0))
    found = sessions(columns(*rows))
    assert (found.count, found.duration_s.tolist()) == (3, pytest.approx([2.0]))
    assert found.turns_mean == 4 / 2


def test_a_session_that_the_end_of_the_run_broke_off_is_not_complete():
    rows = [row(i, float(i), 0.5, conversation=0, turn=i) for i in range(2)]
    rows.append(row(3, 0.0, 0.1, conversation=7, turn=0))
    cut = runs.finished(*rows, turns={0: 2, 7: 3}, unsent=2).block["sessions"]
    assert (cut["sessions"], cut["completed"]) == (2, 1)
    assert cut["duration_ms"]["max"] == pytest.approx(1500.0)
    journal = runs.finished(*rows, unsent=2)
    assert journal.block["sessions"]["completed"] is None
    assert "n/a / 2" in render_console(journal)
