"""When tokens leave: two models of a server's time. Both drive jobs through the wheel and know
nothing of protocols.

`FixedClock` keeps the schedule that it was told, whatever the load: the truth that a client's
figures are held against. `EngineClock` is an engine with continuous batching: what it does under
load looks like a real server's saturation.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Protocol


class Timed(Protocol):
    """What a clock needs of a job."""

    arrival_s: float
    prompt_tokens: int
    steps: int  # emissions until it is complete; at least 1
    silent: bool  # nothing is written before the last emission
    seed: int
    ttft_s: float | None  # of this request alone, instead of the clock's
    itl_s: float | None

    def emit(self) -> bool:
        """One step's output is ready. False: no more is wanted (complete, or the client has gone)."""
        ...

    @property
    def gone(self) -> bool: ...


class Timer(Protocol):
    """What a clock needs of a wheel: the time, and a call at a time. Tests turn one by hand."""

    def now(self) -> float: ...

    def at(self, due_s: float, callback: Callable[[float], None]) -> None: ...


class Clock(Protocol):
    def start(self, job: Timed) -> None: ...

    @property
    def running(self) -> int: ...

    @property
    def waiting(self) -> int: ...


class FixedClock:
    """First token `ttft_s` after the arrival, then one each `itl_s`; each gap times 1 ± `jitter`,
    uniform, by seed.
    """

    def __init__(self, wheel: Timer, ttft_s: float, itl_s: float, jitter: float) -> None:
        self._wheel = wheel
        self._ttft_s = ttft_s
        self._itl_s = itl_s
        self._jitter = jitter
        self.running = 0
        self.waiting = 0

    def start(self, job: Timed) -> None:
        ttft = self._ttft_s if job.ttft_s is None else job.ttft_s
        itl = self._itl_s if job.itl_s is None else job.itl_s
        at = self._wheel.at
        self.running += 1
        if self._jitter:
            self._start_jittered(job, ttft, itl)
            return
        if job.silent:

            def last(due: float) -> None:
                self._finish_silent(job)

            at(job.arrival_s + ttft + (job.steps - 1) * itl, last)
            return

        def step(due: float) -> None:
            if job.emit():
                at(due + itl, step)
            else:
                self.running -= 1

        at(job.arrival_s + ttft, step)

    def _finish_silent(self, job: Timed) -> None:
        while job.emit():
            pass
        self.running -= 1

    def _start_jittered(self, job: Timed, ttft: float, itl: float) -> None:
        draw = random.Random(job.seed).uniform
        low, high = 1 - self._jitter, 1 + self._jitter

        def step(due: float) -> None:
            if job.emit():
                self._wheel.at(due + itl * draw(low, high), step)
            else:
                self.running -= 1

        self._wheel.at(job.arrival_s + ttft * draw(low, high), step)


class EngineClock:
    """Continuous batching with chunked prefill.

    A step takes `step_s` + `step_per_seq_s` for each sequence that decodes + its prefill tokens ÷
    `prefill_rate` (tokens/s). At most `max_num_seqs` sequences hold a place, at most
    `max_batched_tokens` tokens enter a step; decodes go first, the rest of the budget prefills in
    order of arrival. At the end of a step each decoding sequence has a token, and so has each
    sequence whose prompt became complete in it.
    """

    def __init__(
        self,
        wheel: Timer,
        *,
        prefill_rate: float,
        step_s: float,
        step_per_seq_s: float,
        max_num_seqs: int,
        max_batched_tokens: int,
    ) -> None:
        self._wheel = wheel
        self._prefill_rate = prefill_rate
        self._step_s = step_s
        self._step_per_seq_s = step_per_seq_s
        self._max_num_seqs = max_num_seqs
        self._max_batched_tokens = max_batched_tokens
        self._queue: deque[Timed] = deque()
        self._prefilling: list[tuple[Timed, int]] = []  # with the prompt tokens still to do
        self._decoding: list[Timed] = []
        self._busy = False

    @property
    def running(self) -> int:
        return len(self._prefilling) + len(self._decoding)

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def start(self, job: Timed) -> None:
        self._queue.append(job)
        if not self._busy:
            self._begin_step(max(job.arrival_s, self._wheel.now()))

    def _begin_step(self, now: float) -> None:
        """Fill the batch and let the step's end come due."""
        queue, prefilling = self._queue, self._prefilling
        decoding = self._decoding
        while queue and len(decoding) + len(prefilling) < self._max_num_seqs:
            job = queue.popleft()
            if not job.gone:
                prefilling.append((job, max(1, job.prompt_tokens)))
        if not decoding and not prefilling:
            self._busy = False
            return
        budget = max(1, self._max_batched_tokens - len(decoding))
        prefilled = 0
        ready: list[Timed] = []
        left: list[tuple[Timed, int]] = []
        for job, todo in prefilling:
            share = min(todo, budget - prefilled)
            prefilled += share
            if share == todo:
                ready.append(job)
            else:
                left.append((job, todo - share))
        self._prefilling = left
        duration = (
            self._step_s + self._step_per_seq_s * len(decoding) + prefilled / self._prefill_rate
        )
        decoding.extend(ready)
        self._busy = True
        self._wheel.at(now + duration, self._end_step)

    def _end_step(self, due: float) -> None:
        self._decoding = [job for job in self._decoding if job.emit()]
        self._prefilling = [entry for entry in self._prefilling if not entry[0].gone]
        # A step begins when the last one ended, not when this callback got its turn: the schedule
        # stays the model's own, unless this process fell far behind it.
        now = self._wheel.now()
        self._begin_step(due if now - due < 0.25 else now)
