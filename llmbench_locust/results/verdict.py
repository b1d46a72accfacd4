"""The lines below the console table: errors, warnings, and whether the result is valid."""

from __future__ import annotations

from llmbench_locust.json_types import Json
from llmbench_locust.metrics.overload import overload_line
from llmbench_locust.metrics.validity import validity_lines

#: Kinds of error shown below the table; the result file has all.
MOST_KINDS = 10


def verdict_lines(extended: Json, *, timed: bool = False) -> list[str]:
    """What went wrong, one line per kind; the verdict comes last.

    ``timed``: --duration ended the run, so unsent requests are expected.
    """
    errors = extended.get("errors") or {}
    lines = [
        f"{_requests(error['count'])} failed with {kind}; the first: "
        f"{error['first'] or 'no message'}"
        for kind, error in list(errors.items())[:MOST_KINDS]
    ]
    if len(errors) > MOST_KINDS:
        lines.append(f"… and {len(errors) - MOST_KINDS} more kinds of error, in the result file")
    lines += _warnings(extended, timed)
    if extended.get("interrupted"):
        lines.append("The run was INTERRUPTED: these figures cover the time before that.")
    audit = extended.get("audit")
    if audit and not audit["client_limited"]:
        lines.append("Client: not the limit")
    return lines + (validity_lines(extended["validity"]) if extended.get("validity") else [])


def _warnings(extended: Json, timed: bool) -> list[str]:
    lines = []
    if extended.get("overload"):
        lines.append("warning: " + overload_line(extended["overload"]))
    lengths = extended.get("output_length") or {}
    for word in ("shorter", "longer"):
        if lengths.get(word):
            of = sum(lengths.values())
            lines.append(f"warning: {lengths[word]} of {of} responses were {word} than requested")
    if extended.get("cut_off_requests"):
        lines.append(
            f"note: {_requests(extended['cut_off_requests'])} in flight when the users were "
            "stopped: not in any figure (--stop-timeout lets them finish)"
        )
    if extended.get("unsent_requests") and not timed:
        lines.append(f"warning: {_requests(extended['unsent_requests'])} of the plan never sent")
    if (extended.get("tokens_per_event") or 0) > 1.5:
        lines.append(
            f"note: a chunk had {extended['tokens_per_event']:.1f} tokens on average; the ITL and "
            "the peak output throughput above count chunks, those of tokens are in the result file "
            "(llmbench.per_token_itl_ms, llmbench.peak_output_tokens_per_s)"
        )
    if extended.get("exact") is False:
        lines.append(
            "note: more token events than --max-exact-tokens; ITL percentiles are from a "
            "histogram (within 0.1%)"
        )
    return lines


def _requests(n: int) -> str:
    return f"{n} request{'' if n == 1 else 's'}"
