"""How users cancel requests, time out and retry. Pure.

The share ``--cancel-rate`` of all requests is cancelled: after ``--cancel-after`` the client closes
the stream. An attempt that takes longer than ``--client-timeout``, or fails with a transient error,
is repeated up to ``--retries`` times, with a doubled pause each time.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from llmbench_locust.draws import draw
from llmbench_locust.records import CANCELLED, RequestRecord
from llmbench_locust.transport.exchange import Limit
from llmbench_locust.users.wire import WireConfig

#: Pause in seconds before the second attempt, and its maximum; multiplied by 0.5 to 1, by seed.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 8.0
#: Errors that may be transient.
_RETRIED = {*("connect", "timeout", "cut", "server"), *("http_408", "http_409", "http_429")}


class Patience:
    """The patience for one request. ``index``: its position in the plan."""

    def __init__(self, wire: WireConfig, index: int) -> None:
        self._wire, self._index = wire, index
        chosen = wire.cancel_rate > 0 and draw(wire.seed, "cancel", index) < wire.cancel_rate
        self._ends = [
            Limit(seconds, kind)
            for seconds, kind in (
                (wire.request_timeout_s, "timeout"),
                (wire.cancel_after_s if chosen else None, CANCELLED),
            )
            if seconds is not None
        ]

    def limit(self, spent_s: float) -> Limit | None:
        """Limit of the attempt that begins now, ``spent_s`` after the first; None for no limit."""
        left = [Limit(max(0.0, end.seconds - spent_s), end.kind) for end in self._ends]
        if self._wire.client_timeout_s is not None:
            left.append(Limit(self._wire.client_timeout_s))
        return min(left, key=lambda limit: limit.seconds, default=None)

    def pause_s(self, failed: Sequence[RequestRecord], spent_s: float) -> float | None:
        """Seconds to wait before another attempt; None if there is none. ``failed``: the attempts
        so far.
        """
        last = failed[-1]
        again = last.error_kind in _RETRIED or last.error_kind.startswith("http_5")
        if last.success or not again or len(failed) > self._wire.retries:
            return None
        longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (len(failed) - 1))
        pause_s = longest * (0.5 + draw(self._wire.seed, f"pause {len(failed)}", self._index) / 2)
        # No retry if the request is cancelled or times out before then.
        return None if any(spent_s + pause_s >= end.seconds for end in self._ends) else pause_s


def joined(attempts: Sequence[RequestRecord]) -> RequestRecord:
    """One record for all attempts of a request: the last attempt, with the start of the first;
    ``retried`` has the earlier ones.
    """
    record, first_s = attempts[-1], attempts[0].start_time
    if len(attempts) > 1:
        before = [
            {
                "start_s": attempt.start_time - first_s,
                "end_s": attempt.end_time - first_s,
                "error_kind": attempt.error_kind,
                "error": attempt.error,
                "token_events": len(attempt.token_times),
            }
            for attempt in attempts[:-1]
        ]
        record.retried = orjson.dumps(before).decode()
        record.start_time = first_s
    return record
