"""Flags of the sampling parameters."""

from __future__ import annotations

from dataclasses import dataclass

from llmbench_locust.options.flag import flag


@dataclass(frozen=True)
class Sampling:
    """Not a base of `RunConfig`, whose ``sampling`` holds the given ones."""

    top_p: float | None = flag(None, "Top-p.", above=0, most=1, finite=True)
    top_k: int | None = flag(None, "Top-k.", least=-1)
    min_p: float | None = flag(None, "Min-p.", least=0, most=1, finite=True)
    temperature: float | None = flag(
        None, "Temperature; 0.0 (greedy) when not given.", least=0, finite=True
    )
    frequency_penalty: float | None = flag(None, "Frequency penalty.", finite=True)
    presence_penalty: float | None = flag(None, "Presence penalty.", finite=True)
    repetition_penalty: float | None = flag(None, "Repetition penalty.", above=0, finite=True)
