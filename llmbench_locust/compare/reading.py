"""Reads runs from result files and directories: ours, vLLM's and other tools' (`foreign`), as one
document or JSON lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmbench_locust._version import __version__
from llmbench_locust.compare.foreign import adapted
from llmbench_locust.errors import ConfigError, first_line
from llmbench_locust.json_types import Json
from llmbench_locust.json_values import as_object
from llmbench_locust.statistics.blocks import Floats, Ints
from llmbench_locust.statistics.estimates import Sample

Document = Json
MOST = 1e15  # larger than any time or length of a request
_ALWAYS = ("latencies", "start_times", "output_lens", "input_lens")  # what every request has


@dataclass(frozen=True, slots=True)
class Requests:
    """The requests of a run in the order of its plan, in seconds; ``ok``: bool (n,). Latencies
    missing in the file are not in ``samples``; ``start`` and ``output`` are then None.
    """

    ok: NDArray[np.bool_]
    samples: dict[str, Sample]
    start: Floats | None
    end: Floats | None
    output: Ints | None
    input: Ints | None


@dataclass(frozen=True, slots=True)
class Run:
    name: str
    document: Document
    requests: Requests | None
    tool: str = "llmbench"
    missing: str = ""

    @property
    def block(self) -> Document:
        """Our own block of the document; {} for a file of vLLM."""
        return section(self.document, "llmbench")


@contextmanager
def in_our_format(paths: Sequence[Path]) -> Iterator[None]:
    """Raises ConfigError for files of another version, or edited by hand, that cannot be shown."""
    try:
        yield
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        names = ", ".join(map(str, paths))
        what = f"{type(error).__name__}: {first_line(error)}"
        raise ConfigError(
            f"{names}: not in the format of llmbench {__version__} ({what})"
        ) from error


def section(document: Document, key: str) -> Document:
    """An object inside a document; {} if missing."""
    return as_object(document.get(key))


def read_runs(path: Path) -> list[Run]:
    """The runs of a file: one, or one for each line. Raises ConfigError."""
    try:
        found = [
            (tool, missing, document)
            for written in _documents(path)
            for tool, missing, documents in [adapted(written)]
            for document in documents
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"{path}: a file of another tool that lacks {error}") from None
    if not found or not all(
        {"duration", "completed"} <= d.keys() or {"capacity", "low", "high"} <= d.keys()
        for _, _, d in found
    ):
        raise ConfigError(
            f"{path}: not a result of a benchmark: 'duration' or 'completed' is missing"
        )
    many = len(found) > 1
    return [
        run_of(f"{path}:{i + 1}" if many else str(path), d, tool, missing)
        for i, (tool, missing, d) in enumerate(found)
    ]


def run_of(name: str, document: Document, tool: str = "llmbench", missing: str = "") -> Run:
    """The run of a result document. Raises ConfigError."""
    return Run(name, document, _requests(name, document), tool, missing)


def _documents(path: Path) -> list[Document]:
    import orjson  # rejects vLLM's NaN and Infinity; the standard library then reads them

    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    try:
        found = [orjson.loads(data)]
    except ValueError:
        found = list(_lines(path, data.decode("utf-8", "replace")))
    return [as_object(document) for document in found]


def _lines(path: Path, text: str) -> Iterator[object]:
    import json

    decoder, at = json.JSONDecoder(), 0
    try:
        while at < len(text):
            found, at = decoder.raw_decode(text, at)
            yield found
            at += len(text[at:]) - len(text[at:].lstrip())
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from None


def _requests(name: str, document: Document) -> Requests | None:
    """None without arrays of requests. vLLM's plain files still have their end-to-end latencies."""
    try:
        return _columns(document)
    except (TypeError, ValueError, IndexError) as error:
        raise ConfigError(
            f"{name}: its per-request arrays are not in vLLM's format: {first_line(error)}"
        ) from None


def _columns(document: Document) -> Requests | None:
    e2el = _floats(document, "latencies")
    if e2el is None or not len(e2el):
        return None
    n, errors = len(e2el), document.get("errors")
    ok = np.array([not e for e in errors]) if isinstance(errors, list) else e2el > 0
    lists = {
        k: _floats(document, k, n) for k in ("ttfts", "start_times", "output_lens", "input_lens")
    }
    ttft, start, output = lists["ttfts"], lists["start_times"], lists["output_lens"]
    if start is not None:
        start[start == 0] = np.nan  # never sent, because a worker was lost
    samples = {"e2el": _sample(e2el, ok)}
    if ttft is not None:
        samples["ttft"] = _sample(ttft, ok)
        if output is not None:
            long = ok & (output > 1)
            samples["tpot"] = _sample((e2el - ttft) / np.maximum(output - 1, 1), long)
    gaps = document.get("itls")
    if isinstance(gaps, list) and len(gaps) == n:
        kept = [g if fine else [] for g, fine in zip(gaps, ok.tolist(), strict=True)]
        values = np.array([gap for row in kept for gap in row], np.float64)
        samples["itl"] = Sample(values, np.array([len(row) for row in kept]))
    return Requests(
        ok,
        {name: sample for name, sample in samples.items() if len(sample.values)},
        start,
        None if start is None else start + e2el,
        None if output is None else output.astype(np.int64),
        None if lists["input_lens"] is None else lists["input_lens"].astype(np.int64),
    )


def _floats(document: Document, key: str, n: int | None = None) -> Floats | None:
    values = document.get(key)
    if not isinstance(values, list):
        return None
    found = np.array(values, np.float64)
    if n is not None and len(found) != n:
        raise ValueError(f"{key} has {len(found)} values for {n} requests")
    if np.any(np.abs(found) > MOST) or (key in _ALWAYS and np.any(np.isnan(found))):
        raise ValueError(f"{key} has a value that is no number, or too large")
    return found


def _sample(values: Floats, rows: NDArray[np.bool_]) -> Sample:
    return Sample(values[rows], rows.astype(np.int64))


def read_side(paths: Sequence[Path]) -> list[Run]:
    """The runs of several files, without the summaries that --repeat writes. Raises ConfigError."""
    results = [path for path in paths if not path.name.endswith(".summary.json")] or paths
    return [run for path in results for run in read_runs(path)]


def read_cells(directory: Path) -> dict[str, list[Run]]:
    """Every result below a directory, by folder and traffic; other JSON files are skipped. If there
    are capacities, only those: the loads that a search probes differ between searches.
    """
    cells: dict[str, list[Run]] = {}
    for path in sorted(directory.rglob("*.json")):
        try:
            runs = read_runs(path)
        except ConfigError:
            continue
        for run in runs:
            folder = path.parent.relative_to(directory).as_posix()
            cells.setdefault(_cell(folder, run.document), []).append(run)
    if found := {k: r for k, r in cells.items() if all("capacity" in x.document for x in r)}:
        return found
    if not cells:
        raise ConfigError(f"{directory}: no result file in it")
    return cells


def _cell(folder: str, document: Document) -> str:
    words = [] if folder == "." else [folder]
    if "capacity" in document:
        return ", ".join([*words, "capacity"])
    if document.get("ramp_up_strategy"):
        ramp = ("ramp_up_strategy", "ramp_up_start_rps", "ramp_up_end_rps")
        words += ["ramp"] + [str(document.get(key)) for key in ramp]
    else:
        words.append(f"rate {document.get('request_rate')}")
    if document.get("max_concurrency") is not None:
        words.append(f"concurrency {document['max_concurrency']}")
    return ", ".join(words)
