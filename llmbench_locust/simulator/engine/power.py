"""The power of an imagined GPU: idle watts, and a constant for each request in flight."""

from __future__ import annotations


class PowerMeter:
    """``watts`` now and ``joules`` so far. `update` is called whenever the requests change."""

    def __init__(self, idle_w: float, per_request_w: float, now_s: float) -> None:
        self._idle_w = idle_w
        self._per_request_w = per_request_w
        self._since_s = now_s
        self.in_flight = 0
        self.joules = 0.0

    @property
    def watts(self) -> float:
        return self._idle_w + self._per_request_w * self.in_flight

    def update(self, now_s: float, in_flight: int) -> None:
        """From now on ``in_flight`` requests draw power."""
        self.joules += self.watts * (now_s - self._since_s)
        self._since_s, self.in_flight = now_s, in_flight
