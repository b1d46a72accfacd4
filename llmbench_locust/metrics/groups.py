"""Figures by label, by turn, by context length, and of sessions. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.json_types import Json
from llmbench_locust.metrics.basis import Basis
from llmbench_locust.metrics.latencies import input_lengths, latencies
from llmbench_locust.metrics.vllm import good
from llmbench_locust.records import RecordColumns


def by_name(basis: Basis, names: list[str]) -> Json:
    """Figures by group; ``names``: the group of each row ("" for none). {} without groups."""
    present = sorted(
        {n for n in names if n},
        key=lambda n: (not n.isdecimal(), int(n) if n.isdecimal() else 0, n),
    )
    number = {name: i for i, name in enumerate(present)}
    place = np.array([number.get(n, -1) for n in names], np.int64)
    return {name: group(basis, np.flatnonzero(place == i)) for i, name in enumerate(present)}


def group(basis: Basis, rows: NDArray[np.int64]) -> Json:
    summary, shape, goodput_ms = basis.summary, basis.shape, basis.facts.config.goodput
    part, lens, exact = basis.columns.take(rows), summary.output_lens[rows], basis.exact[rows]
    found = latencies(part, lens, summary.kind, exact)
    completed, failed = int(np.count_nonzero(found.ok)), int(np.count_nonzero(part.failed))
    met = float(np.count_nonzero(good(found, goodput_ms)))
    per_s = 1 / summary.duration_s if summary.duration_s > 0 else 0.0
    return {
        "requests": len(rows),
        "completed": completed,
        "failed": failed,
        "input_tokens": int(input_lengths(part)[found.ok].sum()),
        "output_tokens": int(lens.sum()),
        "request_throughput": completed * per_s,
        "output_throughput": int(lens.sum()) * per_s,
        "ttft_ms": shape(found.ttft_s),
        "tpot_ms": shape(found.tpot_s),
        "itl_ms": shape(found.itl_s) if bool(exact.all()) else None,
        "e2el_ms": shape(found.e2el_s),
        "goodput_share": met / (completed + failed) if goodput_ms and completed + failed else None,
        "cached_share": cached_share(part),
    }


def cached_tokens(columns: RecordColumns, counters: Json) -> tuple[float, float]:
    """Prompt tokens served by the prefix cache, and all prompt tokens: from the server's
    ``counters``, else from its responses; zeros if neither reports them.
    """
    hits, asked = (counters.get(f"prefix_cache_{n}") for n in ("hits", "queries"))
    if hits is not None and asked:
        return hits, asked
    cached, prompt = columns.ints["cached_tokens"], columns.ints["input_tokens"]
    known = columns.success & (cached >= 0) & (prompt > 0)
    return float(cached[known].sum()), float(prompt[known].sum())


def cached_share(columns: RecordColumns) -> float | None:
    """The share of prompt tokens cached, from the server's responses; None if they do not say."""
    hits, asked = cached_tokens(columns, {})
    return hits / asked if asked else None


def prefix_cache(basis: Basis) -> Json | None:
    """The share of this workload that the cache served, and that an unlimited one would have; None
    if the server reports no cache.
    """
    counters = basis.server["all"]["counters"] if basis.server else {}
    hits, asked = cached_tokens(basis.columns, counters)
    known = basis.facts.sharing
    if not asked:
        return None
    return {"served_share": hits / asked, "expected_share": known.prefix_share if known else None}


def session_figures(basis: Basis) -> Json | None:
    facts = basis.facts
    found = sessions(basis.columns, facts.turns)
    if found is None:
        return None
    known = facts.turns is not None or not facts.unsent
    started = basis.columns.floats["start_time"]
    steady = np.flatnonzero(started <= found.window_s)
    return {
        "sessions": found.count,
        "completed": len(found.duration_s) if known else None,
        "turns_mean": found.turns_mean,
        "duration_ms": basis.shape(found.duration_s) if known else None,
        "requests_after_window": int(np.count_nonzero(started > found.window_s)),
        "in_window": group(basis, steady),
    }


def by_context(basis: Basis) -> Json:
    """Groups by length of the prompt, including history; only for sessions."""
    lengths = input_lengths(basis.columns).tolist()
    in_session = (basis.columns.ints["conversation"] >= 0).tolist()
    return by_name(
        basis, [context_bucket(n) if s else "" for n, s in zip(lengths, in_session, strict=True)]
    )


@dataclass(frozen=True, slots=True)
class Sessions:
    """``duration_s``: from the first send to the last response, of sessions whose requests all
    succeeded (float64). ``window_s``: seconds of perf_counter until which every ended session was
    replaced by a new one; after that, the load falls.
    """

    count: int
    turns_mean: float
    duration_s: NDArray[np.float64]
    window_s: float


def sessions(columns: RecordColumns, turns: Mapping[int, int] | None = None) -> Sessions | None:
    """None for a run without sessions. A session is incomplete if a turn failed, so that the later
    ones were never sent, or if it has fewer than its ``turns``, because the run ended.
    """
    rows = np.flatnonzero(columns.ints["conversation"] >= 0)
    sent = np.isfinite(columns.floats["start_time"][rows])
    if not np.any(sent):
        return None
    names, place = np.unique(columns.ints["conversation"][rows], return_inverse=True)
    count = int(place.max()) + 1
    began, ended = np.full(count, np.inf), np.full(count, -np.inf)
    np.fmin.at(began, place, columns.floats["start_time"][rows])
    np.fmax.at(ended, place, columns.floats["end_time"][rows])
    whole = np.ones(count, np.bool_)
    np.logical_and.at(whole, place, columns.success[rows])
    if turns is not None:
        whole &= np.bincount(place) >= [turns.get(name, 1) for name in names.tolist()]
    begun = np.isfinite(began)
    late = ended[ended > began[begun].max()]
    return Sessions(
        count,
        np.count_nonzero(sent) / np.count_nonzero(begun),
        (ended - began)[whole],
        float(late.min()) if len(late) else float(ended.max()),
    )


def context_bucket(tokens: int) -> str:
    """The smallest power of two, at least 1024, that a prompt's length does not exceed."""
    return str(max(1024, 1 << (tokens - 1).bit_length())) if tokens > 0 else ""
