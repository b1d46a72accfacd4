"""The token events of one response: arrival time and number of tokens of each."""

from __future__ import annotations

from array import array
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.transport.exchange import NAN


class TokenEvents:
    """``times``: seconds. ``counts``: None while each event had one token.
    ``first_token_time`` is NaN until it is known.
    """

    __slots__ = ("counts", "first_token_time", "times")

    def __init__(self) -> None:
        self.first_token_time = NAN
        self.times = array("d")
        self.counts: array[int] | None = None

    def add(self, time_s: float, tokens: int) -> None:
        if self.first_token_time != self.first_token_time:
            self.first_token_time = time_s
        self.times.append(time_s)
        if self.counts is not None:
            self.counts.append(tokens)
        elif tokens != 1:
            self.counts = array("i", repeat(1, len(self.times) - 1))
            self.counts.append(tokens)

    def add_plain(self, times: bytes) -> None:
        """Add events of one token each after the first; ``times``: doubles as bytes."""
        before = len(self.times)
        self.times.frombytes(times)
        if self.counts is not None:
            self.counts.extend(repeat(1, len(self.times) - before))

    def token_times(self, start: int = 0) -> NDArray[np.float64]:
        """Arrival times of the token events from the ``start``-th on."""
        return np.array(self.times[start:] if start else self.times, np.float64)

    def token_counts(self) -> NDArray[np.int32] | None:
        return None if self.counts is None else np.array(self.counts, np.int32)
