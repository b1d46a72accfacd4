"""A finished run in one line and in six tiles, which a report shows first."""

from __future__ import annotations

from llmbench_locust.json_values import number as finite
from llmbench_locust.results.shown import Shown, attained

NOTHING = "n/a"
_LATENCIES = ("ttft", "tpot", "e2el")


def headline(run: Shown) -> str:
    """For example ``8.0 req/s · SLO met 98.1% · P99 TTFT 223 ms``."""
    document, share = run.document, attained(run.document)
    parts = [f"{number(document.get('request_throughput'), '.1f')} req/s"]
    if share is not None:
        parts.append(f"SLO met {share * 100:.1f}%")
    name = next((n for n in ("ttft", "e2el") if run.latency_ms(n, 99) is not None), None)
    if name is not None:
        parts.append(f"P99 {name.upper()} {milliseconds(run.latency_ms(name, 99))} ms")
    if gone := run.block.get("cancelled"):
        parts.append(f"{gone['requests']} cancelled")
    if failed := failed_of(run):
        parts.append(f"{failed} failed")
    return " · ".join(parts)


def tiles(run: Shown) -> list[tuple[str, str]]:
    """(title, value) of the most important figures."""
    document = run.document
    generation = "output_throughput" in document
    found = []
    for name in _LATENCIES if generation else ("e2el",):
        p50, p99 = (milliseconds(run.latency_ms(name, p)) for p in (50, 99))
        found.append((f"{name.upper()} P50 / P99 (ms)", f"{p50} / {p99}"))
    if generation:
        found.append(("Output tokens/s", number(document["output_throughput"], ",.0f")))
    found.append(("Goodput (req/s)", number(document.get("request_goodput"), ".2f")))
    paid = run.block.get("cost")
    if paid and generation:
        million = number(paid["per_million_output_tokens"], ".4g")
        found.append(("Cost of a million output tokens", million))
    joules = (run.block.get("gpu") or {}).get("joules_per_output_token")
    if joules is not None:
        found.append(("Energy per output token (J)", number(joules, ".4g")))
    failed = failed_of(run)
    if failed is None:
        found.append(("Failed", NOTHING))
    else:
        found.append(("Failed", f"{failed} of {(finite(document['completed']) or 0) + failed}"))
    return found


def failed_of(run: Shown) -> int | None:
    """None if the file does not say."""
    found = run.document.get("failed", run.block.get("failed"))
    return found if isinstance(found, int) else None


def milliseconds(value: float | None) -> str:
    return number(value, ".0f" if value is not None and value >= 100 else ".1f")


def number(value: object, form: str) -> str:
    found = finite(value)
    return NOTHING if found is None else format(found, form)
