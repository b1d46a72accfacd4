"""The tab LLM: an extended table of Locust's page, which escapes the cells."""

from __future__ import annotations

from llmbench_locust.json_types import Json

TAB = {"title": "LLM", "key": "llm"}

#: No column has the key "name": Locust's table sorts by it, and the rows are to stay in the console
#: table's order.
STRUCTURE = [
    {"key": "figure", "title": "Figure"},
    {"key": "value", "title": "Value"},
    {"key": "mean", "title": "Mean"},
    {"key": "median", "title": "Median"},
    {"key": "std", "title": "Std"},
    {"key": "max", "title": "Max"},
    {"key": "percentiles", "title": "Percentiles"},
]


def shown(value: float | int | None) -> str:
    """Two digits after the point, as the console table; "" when there is no value."""
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def verdict(snapshot: Json) -> str:
    """The audit's one sentence."""
    audit = snapshot["audit"]
    limited, reason = audit.get("client_limited"), "; ".join(audit.get("reasons") or ())
    if snapshot["state"] == "waiting":
        return str(snapshot["message"])
    if limited is None:
        return {"running": "measuring …", "preparing": "preparing the run …"}.get(
            snapshot["state"], "none yet"
        )
    if limited:
        reason = reason or "these figures tell of the client, not of the server"
        return f"CLIENT LIMITED: {reason}"
    return "OK: the client kept up"


def table_rows(snapshot: Json) -> list[dict[str, str]]:
    """The rows of the tab. ``snapshot``: `LiveStats.snapshot`."""
    info = snapshot["info"]
    rows = [{"figure": "Client audit", "value": verdict(snapshot)}]
    if snapshot["message"]:
        rows.append({"figure": "Error", "value": snapshot["message"]})
    if info.get("model"):
        rows.append({"figure": "Model", "value": str(info["model"])})
    rows += [{"figure": _with_unit(r), "value": shown(r["value"])} for r in snapshot["summary"]]
    for row in snapshot["latency"]:
        cells = {stat: shown(row[stat]) for stat in ("mean", "median", "std", "max")}
        # The 50th is the median, which has its column.
        known = {name: p for name, p in row["percentiles"].items() if name != "p50"}
        found = [f"{name.upper()} {shown(p)}" for name, p in known.items() if p is not None]
        rows.append({"figure": _with_unit(row), **cells, "percentiles": " · ".join(found)})
    rows += [{"figure": slo_name(s), "value": _share(s)} for s in snapshot["slo"]]
    totals = snapshot["totals"]
    if totals["in_flight"] is not None:
        value = f"{totals['in_flight']} / {totals['waiting']}"
        rows.append({"figure": "In flight / waiting", "value": value})
    rows += _audit_rows(snapshot["audit"])
    rows += [
        {"figure": f"Error: {e['kind']}", "value": f"{e['count']:,}", "percentiles": e["example"]}
        for e in snapshot["errors"]
    ]
    return rows


def slo_name(slo: Json) -> str:
    if slo["limit_ms"] is None:
        return "SLO attainment: every objective"
    return f"SLO attainment: {slo['metric'].upper()} ≤ {slo['limit_ms']:g} ms"


def _share(slo: Json) -> str:
    return "" if slo["share"] is None else f"{slo['share']:.1%} ({slo['met']:,} of {slo['of']:,})"


def _audit_rows(audit: Json) -> list[dict[str, str]]:
    rows = []
    for key, name in (("send_lag_ms", "Send lag (ms)"), ("loop_lag_ms", "Event loop lag (ms)")):
        lag = audit.get(key) or {}
        if lag.get("p99") is not None:
            cells = {
                "mean": shown(lag.get("mean")),
                "median": shown(lag["p50"]),
                "max": shown(lag["max"]),
            }
            rows.append({"figure": name, **cells, "percentiles": f"P99 {shown(lag['p99'])}"})
    if audit.get("cpu_fraction"):
        processes = ", ".join(
            f"{name} {share:.0%}" for name, share in audit["cpu_fraction"].items()
        )
        rows.append({"figure": "CPU of client processes", "value": processes})
    for key, name in (
        ("overflow_requests", "Requests sent by overflow"),
        ("workers_lost", "Workers lost"),
    ):
        if audit.get(key) is not None:
            rows.append({"figure": name, "value": shown(audit[key])})
    return rows


def _with_unit(row: Json) -> str:
    return f"{row['name']} ({row['unit']})" if row["unit"] else str(row["name"])
