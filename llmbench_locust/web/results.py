"""What the web page needs of a finished run; ``results`` makes it, the page formats nothing."""

from __future__ import annotations

from typing import Protocol

from llmbench_locust.json_types import Json


class Results(Protocol):
    """The methods make their file when they are asked."""

    @property
    def document(self) -> Json | None:
        """The result JSON as a dict, None when the run has none."""

    def report_html(self) -> str:
        """The self-contained HTML report."""

    def table_csv(self) -> bytes:
        """One line for each request, UTF-8."""

    def table_parquet(self) -> bytes:
        """One row for each request."""
