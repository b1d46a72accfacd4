"""Two models of when a server sends tokens. Both drive jobs with the wheel, for any protocol.

`FixedClock` keeps a given schedule at any load, as the reference for a client's figures.
`EngineClock` models an engine with continuous batching, which saturates like a real server.
"""

from __future__ import annotations

import math
import random
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmbench_locust.simulator.engine.job import Job
    from llmbench_locust.simulator.engine.wheel import Wheel
    from llmbench_locust.simulator.settings import Settings


class FixedClock:
    """First token `ttft_s` after arrival, then one every `itl_s`, times 1 ± `jitter` by seed."""

    def __init__(self, wheel: Wheel, ttft_s: float, itl_s: float, jitter: float) -> None:
        self._wheel = wheel
        self._ttft_s = ttft_s
        self._itl_s = itl_s
        self._jitter = jitter
        self.running = 0
        self.waiting = 0
        self.kv_usage = 0.0
        self.preemptions = 0

    def start(self, job: Job) -> None:
        ttft = self._ttft_s if job.ttft_s is None else job.ttft_s
        itl = self._itl_s if job.itl_s is None else job.itl_s
        at = self._wheel.at
        self.running += 1
        job.scheduled_s = job.arrival_s
        draw, jitter = random.Random(job.seed).uniform, self._jitter

        def after(due: float, gap: float) -> float:
            return due + (gap * draw(1 - jitter, 1 + jitter) if jitter else gap)

        def step(due: float) -> None:
            if job.emit():
                at(after(due, itl), step)
            else:
                self.running -= 1

        def last(due: float) -> None:
            while job.emit():
                pass
            self.running -= 1

        if job.silent and not jitter:  # nothing is sent before the last step
            at(job.arrival_s + ttft + (job.steps - 1) * itl, last)
        else:
            at(after(job.arrival_s, ttft), step)


class EngineClock:
    """Continuous batching with chunked prefill.

    A step takes `step_s` + `step_per_seq_s` for each decoding sequence + its prefill tokens ÷
    `prefill_rate`. At most `max_num_seqs` sequences run at once, with at most `max_batched_tokens`
    tokens in a step; decodes come first, the rest of the budget prefills in order of arrival. At
    the end of a step each decoding sequence gets a token, and so does each sequence whose prompt
    was completed. If the KV cache is full, the youngest decoding sequence is preempted: it waits
    at the head of the queue and prefills everything again.
    """

    def __init__(self, wheel: Wheel, engine: Settings) -> None:
        self._wheel = wheel
        self._engine = engine
        self._queue: deque[tuple[Job, int]] = deque()  # with the tokens to prefill
        self._prefilling: list[tuple[Job, int]] = []  # with the remaining tokens
        self._decoding: list[Job] = []
        self._busy = False
        self.preemptions = 0

    @property
    def running(self) -> int:
        return len(self._prefilling) + len(self._decoding)

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def kv_usage(self) -> float:
        size = self._engine.kv_tokens
        return min(1.0, self._kv_tokens() / size) if size else 0.0

    def _kv_tokens(self) -> int:
        return sum(job.kv_tokens for job in self._decoding) + sum(
            job.kv_tokens for job, _ in self._prefilling
        )

    def start(self, job: Job) -> None:
        job.kv_tokens = job.prompt_tokens
        self._queue.append((job, max(1, job.prompt_tokens - job.cached_tokens)))
        if not self._busy:
            self._begin_step(max(job.arrival_s, self._wheel.now()))

    def _begin_step(self, now: float) -> None:
        """Fill the batch and schedule the end of the step."""
        engine = self._engine
        if engine.kv_tokens is not None:
            self._preempt(engine.kv_tokens)
        self._admit(now)
        decoding = self._decoding
        if not decoding and not self._prefilling:
            self._busy = False
            return
        budget = max(1, engine.max_batched_tokens - len(decoding))
        prefilled = 0
        ready: list[Job] = []
        left: list[tuple[Job, int]] = []
        for job, todo in self._prefilling:
            share = min(todo, budget - prefilled)
            prefilled += share
            if share == todo:
                ready.append(job)
            else:
                left.append((job, todo - share))
        self._prefilling = left
        decode_s = engine.step_per_seq_s * len(decoding)
        duration = engine.step_s + decode_s + prefilled / engine.prefill_rate
        decoding.extend(ready)
        self._busy = True
        self._wheel.at(now + duration, self._end_step)

    def _admit(self, now: float) -> None:
        """Admit waiting jobs in order while the KV cache has room."""
        engine, queue = self._engine, self._queue
        used = self._kv_tokens() if engine.kv_tokens is not None else 0
        size = math.inf if engine.kv_tokens is None else engine.kv_tokens
        while queue and self.running < engine.max_num_seqs:
            job, todo = queue[0]
            if self.running and used + job.kv_tokens > size:
                return
            queue.popleft()
            if not job.gone:
                used += job.kv_tokens
                if job.scheduled_s is None:  # a step that begins late was due before it came
                    job.scheduled_s = max(now, job.arrival_s)
                self._prefilling.append((job, todo))

    def _preempt(self, size: int) -> None:
        """Preempt until the next token of each decoding sequence has room."""
        used = self._kv_tokens()
        while len(self._decoding) > 1 and used + len(self._decoding) > size:
            job = self._decoding.pop()
            used -= job.kv_tokens
            self.preemptions += 1
            self._queue.appendleft((job, job.kv_tokens))

    def _end_step(self, due: float) -> None:
        self._decoding = [job for job in self._decoding if job.emit()]
        if self._engine.kv_tokens is not None:
            for job in self._decoding:
                job.kv_tokens += 1
        self._prefilling = [entry for entry in self._prefilling if not entry[0].gone]
        # A step begins when the last one ended, not when this callback runs: the schedule is the
        # model's, unless this process is far behind it.
        now = self._wheel.now()
        self._begin_step(due if now - due < 0.25 else now)


Clock = FixedClock | EngineClock
