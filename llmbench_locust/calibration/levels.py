"""The levels of load of a calibration: their results, and which comes next. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from llmbench_locust.calibration.server import Late

#: A calibration begins with 2,000 streams of 25 chunks per second.
STREAMS, RATE = 2000, 25.0
TTFT_MS = 1000.0
#: How long the streams last after their first token.
STREAM_S = 3.0
#: A level holds when both errors are below this.
MOST_ERROR_MS = 1.0
#: The limit is found when the highest level that held and the lowest that did not are this close.
CLOSE_ENOUGH = 1.15
#: Chunks per second below which the search for a limit stops.
LEAST = 500.0


@dataclass(frozen=True, slots=True)
class Level:
    """A load of ``streams`` concurrent streams with ``rate`` chunks per second each."""

    streams: int
    rate: float

    @classmethod
    def of(cls, chunks_per_s: float, most: int) -> Level:
        """More streams up to ``most``, then faster ones."""
        streams = min(most, max(1, round(chunks_per_s / RATE)))
        return cls(streams, chunks_per_s / streams)

    @property
    def chunks_per_s(self) -> float:
        return self.streams * self.rate

    @property
    def itl_ms(self) -> float:
        return 1000 / self.rate

    @property
    def tokens(self) -> int:
        """Output tokens of each stream."""
        return max(2, round(STREAM_S * self.rate))


@dataclass(frozen=True, slots=True)
class Measured:
    """What client and server reported about a level. Milliseconds."""

    level: Level
    failed: int
    mean_ttft_ms: float
    p99_itl_ms: float
    late: Late

    @property
    def ttft_error_ms(self) -> float:
        """Error of the mean TTFT, minus the delay of the server's first tokens."""
        return self.mean_ttft_ms - TTFT_MS - self.late["first_late_mean_ms"]

    @property
    def itl_error_ms(self) -> float:
        """Error of the P99 ITL, minus the error of the gaps as the server sent them."""
        return self.p99_itl_ms - self.level.itl_ms - self.late["gap_late_p99_ms"]

    @property
    def _good(self) -> bool:
        worst_ms = max(abs(self.ttft_error_ms), abs(self.itl_error_ms))
        return not self.failed and worst_ms < MOST_ERROR_MS

    @property
    def server_late(self) -> bool:
        """Whether the client was exact but the server late, so the load was not as planned."""
        return self._good and self.late["late_mean_ms"] > MOST_ERROR_MS

    @property
    def holds(self) -> bool:
        return self._good and not self.server_late


def limit_of(done: Sequence[Measured]) -> Measured | None:
    """The highest level that held."""
    return max((m for m in done if m.holds), key=lambda m: m.level.chunks_per_s, default=None)


def next_level(done: Sequence[Measured], streams: int = STREAMS) -> Level | None:
    """Half more while levels hold, half less while none does, then in between; None once the limit
    is known. ``streams``: maximum number of streams.
    """
    held = [m.level.chunks_per_s for m in done if m.holds]
    failed = [m.level.chunks_per_s for m in done if not m.holds]
    if not done:
        return Level(streams, RATE)
    if not failed:
        return Level.of(max(held) * 1.5, streams)
    above = min(failed)
    if not held:
        return Level.of(above / 2, streams) if above / 2 >= LEAST else None
    below = max(held)
    if above / below < CLOSE_ENOUGH:
        return None
    return Level.of(math.sqrt(below * above), streams)
