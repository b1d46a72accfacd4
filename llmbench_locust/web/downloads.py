"""The files of a finished run."""

from __future__ import annotations

import re

import orjson

from llmbench_locust.json_types import Json
from llmbench_locust.run.report import Report

#: Name of the route under /llm → (title, content type).
DOWNLOADS: dict[str, tuple[str, str]] = {
    "result.json": ("Result JSON", "application/json"),
    "requests.csv": ("Requests CSV", "text/csv; charset=utf-8"),
    "requests.parquet": ("Requests Parquet", "application/vnd.apache.parquet"),
    "report.html": ("HTML report", "text/html; charset=utf-8"),
}


def content_of(done: Report, name: str) -> bytes | str:
    """One download's content. ``name``: a key of `DOWNLOADS` other than result.json."""
    if name == "requests.csv":
        return done.table_csv()
    if name == "requests.parquet":
        return done.table_parquet()
    return done.report_html()


def result_json(document: Json) -> bytes:
    """The result as its file has it."""
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)


def file_name(document: Json, name: str) -> str:
    """A file name that tells runs apart: backend, model and date, in plain characters."""
    stem, _, extension = name.partition(".")
    model = str(document.get("model_id") or "").rsplit("/", 1)[-1]
    backend, date = document.get("backend") or "llmbench", document.get("date") or ""
    parts = [str(backend), model, str(date), stem]
    plain = "-".join(re.sub(r"[^A-Za-z0-9._-]+", "_", p).strip("._-") for p in parts if p)
    return f"{re.sub(r'-+', '-', plain)[:150]}.{extension}"
