"""What the web page needs of a finished run; ``results`` makes it, the page formats nothing."""

from __future__ import annotations

from typing import Any, Protocol


class Results(Protocol):
    """The methods make their file when they are asked."""

    @property
    def document(self) -> dict[str, Any] | None:
        """The result JSON as a dict, None when the run has none."""

    def report_html(self) -> str:
        """The self-contained HTML report."""

    def table_csv(self) -> bytes:
        """One line for each request, UTF-8."""

    def table_parquet(self) -> bytes:
        """One row for each request."""
