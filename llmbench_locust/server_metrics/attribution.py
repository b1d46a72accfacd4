"""Where the time went: splits the client's mean TTFT with the server's metrics. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from llmbench_locust.server_metrics.figures import ServerFigures
from llmbench_locust.server_metrics.reading import Reading

#: A KV cache that is fuller than this makes the server preempt or queue.
FULL_SHARE = 0.95


def ttft_parts(client_mean_s: float, server: ServerFigures) -> dict[str, float] | None:
    """The client's mean TTFT in seconds as queue + prefill + rest; None if unknown.

    The rest is the network and the server's front end (parsing, tokenizing, sending). A negative
    rest means that client and server did not see the same requests: the result is then None.
    """
    latencies = server["latencies"]
    if "queue_time" not in latencies or "prefill_time" not in latencies:
        return None
    queue, prefill = latencies["queue_time"]["mean"], latencies["prefill_time"]["mean"]
    rest = client_mean_s - queue - prefill
    if not rest >= 0:
        return None
    return {"queue": queue, "prefill": prefill, "network_and_front_end": rest}


def sentences(
    client_mean_ttft_s: float | None, server: ServerFigures, readings: Sequence[Reading]
) -> list[str]:
    """Explanations from the server's figures, one fact per line."""
    lines = (_ttft(client_mean_ttft_s, server), _kv_cache(server, readings), _prefix_cache(server))
    return [line for line in lines if line]


def _ttft(client_mean_s: float | None, server: ServerFigures) -> str:
    if client_mean_s is None or (parts := ttft_parts(client_mean_s, server)) is None:
        return ""
    total, words = shown_sum(parts.values(), client_mean_s)
    names = ("queue", "prefill", "network and front end")
    shown = (f"{word} {name}" for word, name in zip(words, names, strict=True))
    return f"TTFT {total} ms = {' + '.join(shown)}"


def shown_sum(parts_s: Iterable[float], total_s: float) -> tuple[str, list[str]]:
    """The total and its parts in milliseconds, rounded so that the shown parts add up: rounded
    down, then the largest remainders rounded up. One decimal below 100 ms.
    """
    digits = 0 if total_s >= 0.0995 else 1
    unit = 10**digits
    exact = [part * 1e3 * unit for part in parts_s]
    whole = round(total_s * 1e3 * unit)
    found = [math.floor(part) for part in exact]
    losses = sorted(range(len(exact)), key=lambda i: found[i] - exact[i])
    for i in losses[: whole - sum(found)]:
        found[i] += 1
    return f"{whole / unit:.{digits}f}", [f"{n / unit:.{digits}f}" for n in found]


def _kv_cache(server: ServerFigures, readings: Sequence[Reading]) -> str:
    preempted = server["counters"].get("preemptions", 0)
    full = [r.time_s for r in readings if r.values.get("kv_cache_usage", 0) > FULL_SHARE]
    facts = []
    if full:
        facts.append(
            f"KV cache first above {FULL_SHARE:.0%} at {full[0] - readings[0].time_s:.0f} s"
        )
    if preempted:
        facts.append(f"{preempted:.0f} preemption{'s' if preempted != 1 else ''}")
    return ", ".join(facts)


def _prefix_cache(server: ServerFigures) -> str:
    counters = server["counters"]
    queries, hits = counters.get("prefix_cache_queries", 0), counters.get("prefix_cache_hits", 0)
    if queries <= 0 or hits <= 0:
        return ""
    return f"Prefix cache served {hits / queries:.0%} of prompt tokens"
