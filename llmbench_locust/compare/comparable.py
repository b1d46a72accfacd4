"""Finds differences between the two sides that weaken a comparison or make it void."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from llmbench_locust.compare.reading import Document, Run, section
from llmbench_locust.json_values import number

MOST_FAILED = 0.01


@dataclass(frozen=True, slots=True)
class Note:
    """A difference or fault. ``void``: it makes the comparison meaningless."""

    text: str
    void: bool = False


# Settings that should be equal: title → value of a run.
_SETTINGS: dict[str, Callable[[Run], object]] = {
    "backend": lambda r: r.document.get("backend"),
    "model": lambda r: r.document.get("model_id"),
    "tokenizer": lambda r: r.document.get("tokenizer_id"),
    "number of prompts": lambda r: r.document.get("num_prompts"),
    "request rate": lambda r: r.document.get("request_rate"),
    "burstiness": lambda r: r.document.get("burstiness"),
    "maximum concurrency": lambda r: r.document.get("max_concurrency"),
    "ramp-up": lambda r: _ramp(r.document),
    "client": lambda r: f"llmbench {r.block['version']}" if "version" in r.block else "vLLM's",
    "steady state": lambda r: "seen" if r.block.get("steady_state") else "not seen",
}


def notes(base: Sequence[Run], new: Sequence[Run]) -> list[Note]:
    """All notes, those that void the comparison first."""
    found = [*_workloads(base, new), *_settings(base, new), *_lengths(base, new)]
    for side, runs in (("base", base), ("new", new)):
        found += [note for run in runs for note in _faults(side, run)]
    return sorted(dict.fromkeys(found), key=lambda note: not note.void)


def paired(base: Run, new: Run) -> bool:
    """Whether both had the same requests in the same order."""
    a, b = section(base.block, "workload"), section(new.block, "workload")
    if a.get("hash") or b.get("hash"):
        return a.get("hash") == b.get("hash") and a.get("seed") == b.get("seed")
    one, other = base.requests, new.requests
    if one is None or other is None or one.input is None or other.input is None:
        return False
    return np.array_equal(one.input, other.input)


def _workloads(base: Sequence[Run], new: Sequence[Run]) -> list[Note]:
    """Different seeds can be compared, but not paired; different prompts of one seed cannot."""
    one, other = section(base[0].block, "workload"), section(new[0].block, "workload")
    found = []
    if one.get("seed") == other.get("seed") and one.get("hash") and other.get("hash"):
        if one["hash"] != other["hash"]:
            found.append(
                Note("different workload: same seed, other prompts or output lengths", True)
            )
    elif one and other:
        found.append(Note(f"seeds differ: {one.get('seed')} and {other.get('seed')}"))
    for key in sorted({*one, *other} - {"hash", "seed"}):
        if one and other and one.get(key) != other.get(key):
            words = f"{key}: {_word(one.get(key))} and {_word(other.get(key))}"
            void = "dataset" in key
            found.append(Note(f"different workload: {words}" if void else f"{words} differ", void))
    return found


def _settings(base: Sequence[Run], new: Sequence[Run]) -> list[Note]:
    found = []
    for title, value in _SETTINGS.items():
        a, b = ([*dict.fromkeys(_word(value(run)) for run in side)] for side in (base, new))
        both_ours = bool(base[0].block) and bool(new[0].block)
        if a != b and (title != "steady state" or both_ours):
            found.append(Note(f"{title} differs: {', '.join(a)} and {', '.join(b)}"))
    return found


def _lengths(base: Sequence[Run], new: Sequence[Run]) -> list[Note]:
    """Compares mean tokens of prompts and responses, and the duration of a run."""
    found = []
    for title, key, limit, void in (
        ("prompt length (tokens)", "total_input_tokens", 0.05, True),
        ("output length (tokens)", "total_output_tokens", 0.01, False),
    ):
        a, b = (_mean([_per_request(run, key) for run in side]) for side in (base, new))
        if a and b and abs(b / a - 1) > limit:
            words = f"{title} differs: {a:.1f} and {b:.1f} on average"
            found.append(Note(f"different workload: {words}" if void else words, void))
    a, b = (_mean([number(run.document.get("duration")) for run in side]) for side in (base, new))
    if a and b and not 0.5 < b / a < 2:
        found.append(Note(f"duration differs: {a:.1f} s and {b:.1f} s"))
    return found


def client_limit(run: Run) -> str:
    """Why the client was the limit; "" if it was not."""
    audit = section(run.block, "audit")
    if not audit.get("client_limited"):
        return ""
    reasons = audit.get("reasons")
    return "; ".join(map(str, reasons if isinstance(reasons, list) else ["see its audit"]))


def _faults(side: str, run: Run) -> list[Note]:
    found = []
    where = "" if run.name == side else f" in {run.name}"
    if why := client_limit(run):
        found.append(Note(f"{side}: the client was the limit{where}: {why}", True))
    failed, done = (number(run.document.get(k)) or 0.0 for k in ("failed", "completed"))
    if failed > MOST_FAILED * (failed + done):
        share = failed / (failed + done)
        found.append(Note(f"{side}: {share:.1%} of the requests failed{where}", True))
    if run.block.get("interrupted"):
        found.append(Note(f"{side}: interrupted{where}"))
    return found


def _ramp(document: Document) -> object:
    keys = ("ramp_up_strategy", "ramp_up_start_rps", "ramp_up_end_rps")
    return " ".join(str(document[key]) for key in keys if key in document) or None


def _per_request(run: Run, key: str) -> float | None:
    total, done = number(run.document.get(key)), number(run.document.get("completed"))
    return total / done if total and done else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _word(value: object) -> str:
    return "none" if value is None else str(value)
