"""The line at the terminal while something goes on."""

import os
import pty
import subprocess
import sys

import numpy as np

from llmbench_locust.metrics.live import LiveStats
from llmbench_locust.records import RecordColumns, RequestRecord
from llmbench_locust.run.progress_line import progress_line

STATUS = """
import logging, sys
from llmbench_locust import terminal
logging.basicConfig(format="%(message)s")
terminal.REDRAW_S = 0.0
status = terminal.Status(float(sys.argv[1]))
for i in range(3):
    status.show(f"step {i} " + "x" * 200)
terminal.say("a line")
status.show("more")
if sys.stderr.isatty():
    logging.warning("logged")
status.show("last")
status.clear()
"""


def request(index, success):
    times = [0.115, 0.135] if success else []
    return RequestRecord(
        index=index,
        success=success,
        due_time=0.0,
        start_time=0.1,
        end_time=0.2,
        first_token_time=0.115 if success else float("nan"),
        token_times=np.array(times),
        output_len=len(times),
    )


def test_it_tells_what_is_done_how_fast_how_slow_and_what_failed():
    live = LiveStats({}, (50.0,))
    live.reset({"kind": "generation"})
    live.begin()
    assert progress_line(live, 80) == "0/80 · 0 failed · 0 in flight"
    totals = {"offered": 9, "sent": 9, "completed": 3, "in_flight": 6, "waiting": 0}
    live.counters({"start_s": 0.0, "ttft_ms": [15.0, 15.0], **totals}, now_s=0.5)
    live.add(RecordColumns.from_records([request(0, True), request(1, True), request(2, False)]))
    assert (
        progress_line(live, 80)
        == "3/80 · 1 failed · 4.0 req/s · 6 in flight · TTFT p50 15 p99 15 ms"
    )
    live.counters({"waiting": 4}, now_s=0.5)
    assert "6 in flight · 4 waiting" in progress_line(live, None)
    assert progress_line(live, None).startswith("3 · ")


def test_a_pooling_run_shows_the_whole_latency():
    live = LiveStats({}, (50.0,))
    live.reset({"kind": "pooling"})
    live.counters({"start_s": 0.0, "in_flight": 0}, now_s=1.0)
    live.add(RecordColumns.from_records([request(0, True)]))
    assert "E2EL p50 100 p99 100 ms" in progress_line(live, 1)


def shown(first_after_s, terminal, term="xterm"):
    """What three steps, a line on standard output, and a last step leave on both streams."""
    command = [sys.executable, "-c", STATUS, str(first_after_s)]
    if not terminal:
        both = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
        )
        return both.stdout
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": term}
    done = subprocess.run(command, stdout=theirs, stderr=theirs, env=env, check=True)
    os.close(theirs)
    text = os.read(ours, 65536).decode()
    os.close(ours)
    assert done.returncode == 0
    return text


def test_elsewhere_than_on_a_terminal_a_line_stands_every_ten_seconds():
    assert shown(0, terminal=False) == "step 0 " + "x" * 200 + "\na line\n"
    assert shown(10, terminal=False) == "a line\n"


def test_on_a_terminal_the_line_is_written_over_and_no_other_line_breaks_it():
    pieces = shown(10, terminal=True).split("\r\x1b[K")
    assert [piece[:6] for piece in pieces] == [
        "",
        "step 0",
        "step 1",
        "step 2",
        "a line",
        "more\r",
        "logged",
        "last\r",
        "",
    ]
    assert len(pieces[1].rstrip("\r")) < 200, "cut at the terminal's width"


def test_a_terminal_without_escape_sequences_gets_lines():
    lines = shown(10, terminal=True, term="dumb").splitlines()
    assert lines == ["a line", "logged"]
