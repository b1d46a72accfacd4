"""The two clocks by hand-turned time against arithmetic, then the fixed clock over a real
socket.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench_locust.simulator.engine.latency_models import Clock, EngineClock, FixedClock
from llmbench_locust.simulator.launch import SimProcess
from llmbench_locust.simulator.settings import Settings
from tests.simulator.wire import post


class HandTurned:
    """A timer whose time is turned on by hand, from one due time to the next; each call comes
    `late_s` after its due time.
    """

    def __init__(self, late_s: float = 0.0) -> None:
        self.time = 0.0
        self.late_s = late_s
        self.heap: list[tuple[float, int, Callable[[float], None]]] = []
        self.count = itertools.count()

    def now(self) -> float:
        return self.time

    def at(self, due_s: float, callback: Callable[[float], None]) -> None:
        heappush(self.heap, (due_s, next(self.count), callback))

    def run(self, until: float = float("inf")) -> None:
        while self.heap and self.heap[0][0] <= until:
            due, _, callback = heappop(self.heap)
            self.time = max(self.time, due + self.late_s)
            callback(due)


@dataclass
class Recorder:
    """A job that notes when it was asked to emit."""

    timer: HandTurned
    steps: int
    arrival_s: float = 0.0
    prompt_tokens: int = 1
    cached_tokens: int = 0
    kv_tokens: int = 0
    scheduled_s: float | None = None
    silent: bool = False
    seed: int = 1
    ttft_s: float | None = None
    itl_s: float | None = None
    gone: bool = False
    times: list[float] = field(default_factory=list)

    def emit(self) -> bool:
        if self.gone:
            return False
        self.times.append(self.timer.time)
        return len(self.times) < self.steps


def engine(timer: HandTurned, **changes: float) -> EngineClock:
    """A step of 10 ms + 1 ms for each decoding sequence + 1 ms for each prompt token."""
    values = {
        "prefill_rate": 1000,
        "step_s": 0.010,
        "step_per_seq_s": 0.001,
        "max_num_seqs": 8,
        "max_batched_tokens": 100,
    }
    return EngineClock(timer, Settings(**{**values, **changes}))  # type: ignore[arg-type]


def test_cached_tokens_need_no_prefill() -> None:
    timer = HandTurned()
    clock = engine(timer)
    job = Recorder(timer, 1, prompt_tokens=50, cached_tokens=40)
    clock.start(job)
    timer.run()
    assert job.times == [pytest.approx(0.010 + 0.010)]  # a step, and 10 tokens at 1 ms
    assert job.scheduled_s == 0


def test_a_full_kv_cache_preempts_the_youngest_sequence_which_prefills_again() -> None:
    timer = HandTurned()
    clock = engine(timer, kv_tokens=12)
    old = Recorder(timer, 6, prompt_tokens=4)
    young = Recorder(timer, 6, prompt_tokens=4)
    clock.start(old)
    timer.run(0.013)
    clock.start(young)  # enters the second step: 4 + 4 tokens and what they generate fit until 12
    timer.run()
    assert len(old.times) == len(young.times) == 6
    assert clock.preemptions >= 1
    assert max(old.times) < max(young.times)
    gaps = [b - a for a, b in itertools.pairwise(young.times)]
    assert max(gaps) > 2 * min(gaps)


def test_fixed_schedule_counts_from_the_arrival() -> None:
    timer = HandTurned()
    clock = FixedClock(timer, 0.5, 0.1, 0.0)
    timer.time = 2.25  # the clock hears of it late: the schedule does not move
    job = Recorder(timer, 4, arrival_s=2.0)
    own = Recorder(timer, 2, arrival_s=2.0, ttft_s=1.0, itl_s=0.25)
    clock.start(job)
    clock.start(own)
    assert clock.running == 2
    timer.run()
    assert job.times == pytest.approx([2.5, 2.6, 2.7, 2.8])
    assert own.times == pytest.approx([3.0, 3.25])
    assert clock.running == 0


def test_lateness_does_not_add_up() -> None:
    timer = HandTurned(late_s=0.003)
    fixed, engine_job = Recorder(timer, 30), Recorder(timer, 30)
    FixedClock(timer, 0.5, 0.1, 0.0).start(fixed)
    timer.run()
    assert fixed.times == pytest.approx([0.503 + 0.1 * index for index in range(30)])
    timer.time = 0.0
    engine(timer).start(engine_job)
    timer.run()
    assert engine_job.times == pytest.approx([0.014 + 0.011 * index for index in range(30)])


def test_fixed_whole_answer_comes_with_its_last_token() -> None:
    timer = HandTurned()
    job = Recorder(timer, 4, silent=True)
    FixedClock(timer, 0.5, 0.1, 0.0).start(job)
    timer.run()
    assert job.times == pytest.approx([0.8] * 4)


@given(st.integers(0, 2**40), st.floats(0.01, 1))
def test_jitter_is_bounded_and_repeats_by_seed(seed: int, jitter: float) -> None:
    def run() -> list[float]:
        timer = HandTurned()
        job = Recorder(timer, 20, seed=seed)
        FixedClock(timer, 0.5, 0.1, jitter).start(job)
        timer.run()
        return job.times

    times = run()
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert times == run()
    assert len(set(gaps)) > 1
    assert 0.5 * (1 - jitter) <= times[0] <= 0.5 * (1 + jitter)
    assert all(0.1 * (1 - jitter) - 1e-9 <= gap <= 0.1 * (1 + jitter) + 1e-9 for gap in gaps)


def test_engine_alone_pays_its_prefill_then_a_step_a_token() -> None:
    timer = HandTurned()
    job = Recorder(timer, 3, prompt_tokens=40)
    engine(timer).start(job)
    timer.run()
    assert job.times == pytest.approx([0.050, 0.061, 0.072])  # 10 + 40, then 10 + 1 each


def test_engine_batches_and_a_newcomer_delays_the_others() -> None:
    timer = HandTurned()
    clock = engine(timer)
    first = Recorder(timer, 4, prompt_tokens=10)
    clock.start(first)
    second = Recorder(timer, 2, prompt_tokens=30)
    timer.run(until=0.020)  # the first token of `first`; its next step has begun, of 11 ms
    clock.start(second)
    timer.run()
    # From 31 ms a step of 10 + 1 + 30, from 72 ms steps of 10 + 2.
    assert first.times == pytest.approx([0.020, 0.031, 0.072, 0.084])
    assert second.times == pytest.approx([0.072, 0.084])


def test_engine_that_is_late_schedules_no_request_before_it_came() -> None:
    timer = HandTurned(late_s=0.005)
    clock = engine(timer)
    clock.start(Recorder(timer, 3))
    timer.run(until=0.011)  # the first step, due at 11 ms, ends at 16
    late = Recorder(timer, 2, arrival_s=0.025)
    timer.at(0.021, lambda due: clock.start(late))
    timer.run()
    assert late.scheduled_s == late.arrival_s


def test_engine_cuts_a_long_prompt_into_chunks() -> None:
    timer = HandTurned()
    job = Recorder(timer, 1, prompt_tokens=250)
    engine(timer).start(job)
    timer.run()
    assert job.times == pytest.approx([0.110 + 0.110 + 0.060])


def test_engine_queues_beyond_its_places() -> None:
    timer = HandTurned()
    clock = engine(timer, max_num_seqs=2)
    jobs = [Recorder(timer, 2, prompt_tokens=1) for _ in range(3)]
    for job in jobs:
        clock.start(job)
    assert (clock.running, clock.waiting) == (1, 2)
    timer.run()
    # Step 1 (11 ms): a. Steps 2 and 3 (10 + 1 + 1): a's last and b's first, b's last and c's first.
    # Step 4 (11): c's last.
    assert jobs[0].times == pytest.approx([0.011, 0.023])
    assert jobs[1].times == pytest.approx([0.023, 0.035])
    assert jobs[2].times == pytest.approx([0.035, 0.046])
    assert (clock.running, clock.waiting) == (0, 0)


def test_engine_frees_the_place_of_one_that_left() -> None:
    timer = HandTurned()
    clock = engine(timer, max_num_seqs=1)
    left, kept = Recorder(timer, 100), Recorder(timer, 1)
    clock.start(left)
    clock.start(kept)
    timer.run(until=0.025)
    left.gone = True
    timer.run()
    assert len(left.times) == 2
    assert len(kept.times) == 1


def test_engine_spends_nothing_on_one_that_left_while_it_waited() -> None:
    timer = HandTurned()
    clock = engine(timer, max_num_seqs=1)
    first, left, kept = Recorder(timer, 1), Recorder(timer, 1, prompt_tokens=90), Recorder(timer, 1)
    for job in (first, left, kept):
        clock.start(job)
    left.gone = True
    timer.run()
    assert kept.times == pytest.approx([0.011 + 0.011])


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.integers(1, 300), st.integers(1, 8)), min_size=1, max_size=30
    )
)
def test_engine_completes_everything_and_never_exceeds_its_places(
    jobs: list[tuple[float, int, int]],
) -> None:
    timer = HandTurned()
    clock = engine(timer, max_num_seqs=4)
    recorders = [Recorder(timer, steps, arrival, tokens) for arrival, tokens, steps in sorted(jobs)]
    for recorder in recorders:
        timer.run(until=recorder.arrival_s)
        timer.time = max(timer.time, recorder.arrival_s)
        clock.start(recorder)
        assert clock.running <= 4
    timer.run()
    assert [len(recorder.times) for recorder in recorders] == [
        recorder.steps for recorder in recorders
    ]
    first = [recorder.times[0] for recorder in recorders]
    assert first == sorted(first)  # in order of arrival
    assert (clock.running, clock.waiting) == (0, 0)


def test_more_load_makes_an_engine_slower() -> None:
    def mean_gap(count: int) -> float:
        timer = HandTurned()
        clock: Clock = engine(timer)
        jobs = [Recorder(timer, 10) for _ in range(count)]
        for job in jobs:
            clock.start(job)
        timer.run()
        gaps = [(job.times[-1] - job.times[0]) / 9 for job in jobs]
        return sum(gaps) / len(gaps)

    assert mean_gap(1) < mean_gap(4) < mean_gap(8)


def test_fixed_schedule_on_the_wire_is_never_early(sim: SimProcess) -> None:
    tokens = 500
    body = {"prompt": "x", "max_tokens": tokens, "stream": True}
    headers = {"x-sim-ttft-ms": "100", "x-sim-itl-ms": "1"}
    end_late_s: list[float] = []
    while len(end_late_s) < 5 and min(end_late_s, default=1) >= 0.01:
        answer = post(sim.url, "/v1/completions", body, headers)
        sent = answer.sent_s
        late_s = [at - sent - 0.1 - 0.001 * n for n, at in enumerate(answer.times[:tokens])]
        assert len(late_s) == tokens
        assert min(late_s) >= -0.0005
        end_late_s.append(min(late_s[-50:]))
    # The errors of 450 steps and more do not add up: the end is near its schedule, unless the
    # machine stands still just then.
    assert min(end_late_s) < 0.01, end_late_s


def test_whole_answer_on_the_wire_comes_at_its_end(sim: SimProcess) -> None:
    before = time.monotonic()
    post(
        sim.url,
        "/v1/completions",
        {"prompt": "x", "max_tokens": 11},
        {"x-sim-ttft-ms": "100", "x-sim-itl-ms": "10"},
    )
    assert time.monotonic() - before >= 0.2 - 0.0005
