"""The console summary: vLLM's layout line for line, then our own figures."""

from __future__ import annotations

from llmbench_locust.json_types import Json
from llmbench_locust.metrics.facts import Figures
from llmbench_locust.metrics.latencies import KEYS, LATENCIES
from llmbench_locust.metrics.vllm import Distribution, Summary
from llmbench_locust.options.config import RunConfig
from llmbench_locust.results.document import p_word, shown_metrics
from llmbench_locust.results.tables import short
from llmbench_locust.results.verdict import verdict_lines

_TITLES = {
    **{row.key: (row.short, row.title) for row in LATENCIES},
    "client_queue_time": ("Client Queue Time", "Client-side Queueing"),
    "e2el_including_client_queue": (
        "E2EL incl. Client Queue",
        "Queue-inclusive End-to-end Latency",
    ),
}
_OF_TOKENS = ("ttft", "tpot", "itl")


def render_console(figures: Figures) -> str:
    """The table. Without a tokenizer, vLLM shows no token figures."""
    facts, summary, block = figures.facts, figures.summary, figures.block
    config, probes, spec_decode = facts.config, facts.probes, facts.spec_decode
    has_tokenizer = not config.skip_tokenizer_init
    generation = summary.kind == "generation"
    lines = [f"{' Serving Benchmark Result ':=^50}"]
    lines += _head(config, summary, generation, has_tokenizer)
    if probes:
        lines += [
            f"{'Probe Requests':-^50}",
            _line("Probe requests completed:", probes["probe_completed"]),
            _line("Probe requests failed:", probes["probe_failed"]),
            _line("Median probe E2EL (ms):", probes["probe_median_e2el_ms"], ".2f"),
            _line("P99 probe E2EL (ms):", probes["probe_p99_e2el_ms"], ".2f"),
            _line("Max probe E2EL (ms):", probes["probe_max_e2el_ms"], ".2f"),
        ]
    for name in shown_metrics(config, summary):
        if has_tokenizer or name not in _OF_TOKENS:
            lines += _metric(*_TITLES[name], summary.distributions[name])
    if spec_decode:
        lines += _spec_decode(spec_decode)
    if config.intervals:
        lines += _intervals(block.get("intervals") or {})
    lines.append("=" * 50)
    lines += _server(block.get("server"))
    lines += _cache(block.get("prefix_cache"))
    lines += _gpu(block.get("gpu"), config.num_gpus)
    lines += _cost(block)
    lines += _ours(block, asked="ttfo" in config.percentile_metrics)
    lines += verdict_lines(block, timed=config.duration_s is not None)
    return "\n".join(lines)


def _line(title: str, value: object, form: str = "") -> str:
    return f"{title:<40} {value:<10{form}}"


def _head(config: RunConfig, s: Summary, generation: bool, has_tokenizer: bool) -> list[str]:
    lines = [_line("Successful requests:", s.completed), _line("Failed requests:", s.failed)]
    if config.max_concurrency is not None:
        lines.append(_line("Maximum request concurrency:", config.max_concurrency))
    if config.request_rate != float("inf"):
        lines.append(_line("Request rate configured (RPS):", config.request_rate, ".2f"))
    lines.append(_line("Benchmark duration (s):", s.duration_s, ".2f"))
    lines.append(_line("Total input tokens:", s.total_input))
    if generation and has_tokenizer:
        lines.append(_line("Total generated tokens:", s.total_output))
    lines.append(_line("Request throughput (req/s):", s.request_throughput, ".2f"))
    if not generation:
        lines.append(_line("Input throughput (inputs/s):", s.sequence_throughput, ".2f"))
    if s.request_goodput is not None and generation:
        lines.append(_line("Request goodput (req/s):", s.request_goodput, ".2f"))
    if generation:
        if has_tokenizer:
            lines.append(_line("Output token throughput (tok/s):", s.output_throughput, ".2f"))
            lines.append(
                _line("Peak output token throughput (tok/s):", s.max_output_tokens_per_s, ".2f")
            )
        lines.append(_line("Peak concurrent requests:", s.max_concurrent_requests, ".2f"))
        if s.rtfx > 0:
            lines.append(_line("RTFx (Inverse Real-Time Factor):", s.rtfx, ".2f"))
    if has_tokenizer:
        lines.append(_line("Total token throughput (tok/s):", s.total_token_throughput, ".2f"))
    return lines


def _metric(short: str, title: str, d: Distribution) -> list[str]:
    lines = [
        f"{title:-^50}",
        _line(f"Mean {short} (ms):", d.mean, ".2f"),
        _line(f"Median {short} (ms):", d.median, ".2f"),
    ]
    return lines + [
        _line(f"P{p_word(p)} {short} (ms):", value, ".2f") for p, value in d.percentiles
    ]


def _intervals(found: Json) -> list[str]:
    """Confidence intervals from this run alone."""
    lines = [f"{'95% intervals within this run':-^50}"]
    for name in KEYS:
        for key, ends in (found.get(f"{name}_ms") or {}).items():
            word = key.capitalize() if key != "p50" else "Median"
            lines.append(_line(f"{word} {_TITLES[name][0]} (ms):", _ends(ends)))
    for title, key in (
        ("Request throughput (req/s):", "request_throughput"),
        ("Output token throughput (tok/s):", "output_throughput"),
        ("Total token throughput (tok/s):", "total_token_throughput"),
    ):
        if found.get(key):
            lines.append(_line(title, _ends(found[key])))
    return lines


def _ends(ends: list[float | None] | None) -> str:
    if ends is None:
        return "too few requests"
    low, high = ends
    return f"{low:.2f} to {high:.2f}" if high is not None else f"{low:.2f} or more"


def _spec_decode(found: Json) -> list[str]:
    lines = [
        f"{'Speculative Decoding':-^50}",
        _line("Acceptance rate (%):", found["spec_decode_acceptance_rate"], ".2f"),
        _line("Acceptance length:", found["spec_decode_acceptance_length"], ".2f"),
        _line("Drafts:", found["spec_decode_num_drafts"]),
        _line("Draft tokens:", found["spec_decode_draft_tokens"]),
        _line("Accepted tokens:", found["spec_decode_accepted_tokens"]),
    ]
    rates = found["spec_decode_per_position_acceptance_rates"]
    if rates:
        lines.append("Per-position acceptance (%):")
        lines += [_line(f"  Position {i}:", rate * 100, ".2f") for i, rate in enumerate(rates)]
    return lines


def _server(found: Json | None) -> list[str]:
    """At most eight lines: the server's load, and what explains the latencies."""
    if not found:
        return []
    lines = _gauges(
        found["all"]["gauges"],
        ("running", "Requests running", "", 1),
        ("waiting", "Requests waiting", "", 1),
        ("kv_cache_usage", "KV cache in use", ", %", 100),
    )
    if found["all"]["restarted"]:
        lines.append("A counter decreased: the server was restarted, or its counters were reset")
    return [f"{'Server':-^50}", *lines, *found["attribution"]]


def _gauges(found: Json, *rows: tuple[str, str, str, float]) -> list[str]:
    """Mean and maximum of each; rows are (name, title, unit, factor)."""
    return [
        _line(f"{title} (mean / max{unit}):", f"{g['mean'] * k:.1f} / {g['max'] * k:.1f}")
        for name, title, unit, k in rows
        if (g := found.get(name))
    ]


def _gpu(found: Json | None, given: int | None) -> list[str]:
    """``given``: --num-gpus."""
    if not found:
        return []
    count = found.get("gpus", {}).get("max")
    lines = _gauges(
        found,
        ("gpu_power", "GPU power", ", W", 1),
        ("gpu_utilization", "GPU utilization", ", %", 100),
        ("gpu_memory", "GPU memory in use", ", GB", 1e-9),
    )
    if found["energy_j"] is None:
        lines.append(f"Energy: unknown: {found['energy_reason']}")
    else:
        lines.append(_line("Energy of the run (J):", short(found["energy_j"], 6)))
    lines += [
        _line(title, found[key], ".4g")
        for title, key in (
            ("Energy per output token (J):", "joules_per_output_token"),
            ("Output tokens per joule:", "output_tokens_per_joule"),
        )
        if found[key] is not None
    ]
    if count and given not in (None, count):
        lines.append(
            f"note: the pages have {count:.0f} GPUs, --num-gpus is {given}; choose GPUs behind the "
            "URL: #0,1"
        )
    return [f"{f'GPUs: {count:.0f}' if count else 'GPUs':-^50}", *lines]


COSTS = (
    ("per_million_output_tokens", "per million output tokens"),
    ("per_million_total_tokens", "per million total tokens"),
    ("per_thousand_requests", "per thousand requests"),
)


def _cache(found: Json | None) -> list[str]:
    """What the prefix cache served, and what an unlimited one would have served."""
    if not found or found["expected_share"] is None:
        return []
    shares = f"{found['served_share'] * 100:.1f} / {found['expected_share'] * 100:.1f}"
    return [_line("Prompt tokens cached / cacheable (%):", shares)]


def _cost(block: Json) -> list[str]:
    """Costs, and the throughput per GPU."""
    lines, paid, share = [], block.get("cost"), block.get("per_gpu")
    if paid:
        lines += [f"{'Cost':-^50}", _line("Cost of the run:", _money(paid["total"]))]
        for title, part in (("Cost", paid), ("Goodput cost", paid["at_goodput"])):
            lines += [_line(f"{title} {words}:", _money(part[k])) for k, words in COSTS if part]
    if share:
        lines += [] if paid else [f"{'Per GPU':-^50}"]
        if share["output_throughput"]:  # a pooling backend has no output tokens
            lines.append(_line("Output throughput (tok/s/GPU):", share["output_throughput"], ".2f"))
        lines.append(_line("Total throughput (tok/s/GPU):", share["total_token_throughput"], ".2f"))
    return lines


def _money(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4g}"


def _sessions(found: Json | None) -> list[str]:
    if found is None:
        return []
    complete = "n/a" if found["completed"] is None else found["completed"]
    lines = [
        f"{'Sessions':-^50}",
        _line("Sessions complete / all:", f"{complete} / {found['sessions']}"),
        _line("Mean requests per session:", found["turns_mean"], ".1f"),
    ]
    if duration := found["duration_ms"]:
        lines.append(_line("Median session duration (s):", duration["p50"] / 1000, ".2f"))
    after = found["requests_after_window"]
    if after:
        lines.append(_line("Requests sent after the load began to fall:", after))
    return lines


def _users(cancelled: Json | None, retries: Json | None) -> list[str]:
    lines = [f"{'Users':-^50}"] if cancelled or retries else []
    if cancelled:
        lines.append(_line("Cancelled requests:", cancelled["requests"]))
        if cancelled["generated_after"] is not None:
            after = cancelled["generated_after"]
            lines.append(_line("Tokens generated after cancelling:", after))
    if retries:
        lines.append(_line("Requests retried:", retries["requests"]))
        lines.append(_line("Retries:", retries["attempts"]))
    return lines


def _answers(extended: Json) -> list[str]:
    """The share of valid responses with its interval, by label, and by load if that varied."""
    lines = []
    for key, title in (("answers", "Valid answers (%)"), ("same_answers", "Same answers (%)")):
        found = extended.get(key)
        if not found:
            continue
        what = found.get("check") or f"as in {found['with']}"
        lines += [f"{'Answers':-^50}", _line(f"{title}, {what[:20]}:", _percent(found))]
        groups = [(f"  label {k}:", v) for k, v in found["by_label"].items()]
        by_load = found["by_requests_in_flight"]
        if len(by_load) > 1:
            groups += [(f"  up to {k} in flight:", v) for k, v in by_load.items()]
        lines += [_line(name, _percent(s)) for name, s in groups if s["checked"] >= LEAST_CHECKED]
    return lines


#: Shares of fewer responses are not shown by load or label; the result file has them.
LEAST_CHECKED = 10


def _percent(share: Json) -> str:
    if not share["checked"]:
        return "n/a"
    low, high = share["interval"]
    return f"{share['share'] * 100:.1f} ({low * 100:.1f} to {high * 100:.1f})"


def _ours(extended: Json, *, asked: bool) -> list[str]:
    """Objectives, the time to the first answer token (unless ``asked`` for above), and the
    client's lags.
    """
    lines: list[str] = []
    attained = extended.get("slo_attainment") or {}
    if attained:
        lines.append(f"{'Objectives met (% of requests)':-^50}")
        for name, share in attained.items():
            lines.append(_line(f"{name}:", "n/a" if share is None else f"{share * 100:.2f}"))
    lines += _users(extended.get("cancelled"), extended.get("retries"))
    lines += _answers(extended)
    lines += _sessions(extended.get("sessions"))
    answer = extended.get("time_to_first_answer_token_ms")
    if answer and not asked:
        lines.append(f"{'Time to First Answer Token':-^50}")
        lines += [
            _line(f"{word} (ms):", answer[key], ".2f")
            for word, key in (("Mean", "mean"), ("Median", "p50"), ("P99", "p99"))
        ]
        lines.append(_line("Reasoning tokens:", extended.get("reasoning_tokens") or 0))
    audit = extended.get("audit") or {}
    lags = (("P99 send lag (ms):", "send_lag_ms"), ("P99 event loop lag (ms):", "loop_lag_ms"))
    known = [
        (title, audit[key]["p99"])
        for title, key in lags
        if (audit.get(key) or {}).get("p99") is not None
    ]
    if known:
        lines.append(f"{'Client audit':-^50}")
        lines += [_line(title, value, ".2f") for title, value in known]
        cpu = audit.get("cpu_fraction") or {}
        if cpu:
            lines.append(
                _line("Busiest client process (% of a core):", max(cpu.values()) * 100, ".0f")
            )
        calibrated = (audit.get("calibration") or {}).get("limit_chunks_per_s")
        if calibrated:
            lines.append(_line("Calibrated up to (chunks/s):", calibrated, ".0f"))
        lines += [
            _line(title, audit[key])
            for title, key in (
                ("Requests sent by overflow:", "overflow_requests"),
                ("Requests resent on a new connection:", "resent_requests"),
            )
            if audit.get(key)
        ]
    return lines
