"""One fixed-clock simulator for the whole directory; tests that need other flags start their
own.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from llmbench_locust.simulator.launch import SimProcess, launch


@pytest.fixture(scope="session")
def sim() -> Iterator[SimProcess]:
    """TTFT 20 ms, ITL 4 ms, prompts counted by words."""
    with launch(
        ["--clock", "fixed", "--ttft-ms", "20", "--itl-ms", "4", "--count", "words"]
    ) as process:
        yield process
