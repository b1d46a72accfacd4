"""`llmbench ui`: the web UI, with the flags of `llmbench serve` as the form's first values."""

from __future__ import annotations

from llmbench_locust.cli import serve


def main(argv: list[str]) -> int:
    """Open Locust's web UI on port 8089. Returns the exit status."""
    return serve.main(argv, web=True)
