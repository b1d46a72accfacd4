"""``random-mm``: random texts with random images and videos, the same as vLLM's for the same seed.

A request has floor(n·(1−r)) to ceil(n·(1+r)) items, each of a random bucket ``(height, width,
frames)``: one frame is an image (JPEG), more are a video (MP4). A modality that has reached its
limit is no longer drawn. Pixels are noise, which compresses worst. Images need the extra
``vision``, videos ``video``.
"""

from __future__ import annotations

import ast
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json
from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload.choose import collect
from llmbench_locust.workload.exact import exact_prompt
from llmbench_locust.workload.media import image_part, need, video_part
from llmbench_locust.workload.random_tokens import (
    draw_lengths,
    drawer,
    row,
    shared_prefix,
    tokens_without,
)
from llmbench_locust.workload.sample import Progress, SampleRequest, silent
from llmbench_locust.workload.tokenizer import Tokenizer

Bucket = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class ItemPlan:
    """``weights`` sum to 1, none is 0; ``limits``: the most items of each modality."""

    least: int
    most: int
    weights: dict[Bucket, float]
    limits: dict[str, int]


def load(
    config: RunConfig, tokenizer: Tokenizer, progress: Progress = silent
) -> list[SampleRequest]:
    """``--num-prompts`` requests; ``prompt_len`` counts only the text. Raises ConfigError."""
    if config.random_batch_size > 1:
        raise ConfigError(
            f"--random-batch-size: {config.random_batch_size} is not possible with random-mm; use 1"
        )
    plan = item_plan(config)
    for bucket in plan.weights:
        if modality(bucket) not in config.backend_info.modalities:
            raise ConfigError(
                f"--random-mm-bucket-config: --backend {config.backend} does not support "
                f"{modality(bucket)}s"
            )
        need("PIL.Image" if modality(bucket) == "image" else "cv2")
    rng = np.random.default_rng(config.seed)
    made = _samples(config, plan, tokenizer, rng)
    return collect(made, config, progress, config.num_prompts)


def _samples(
    config: RunConfig, plan: ItemPlan, tokenizer: Tokenizer, rng: np.random.Generator
) -> Iterator[SampleRequest]:
    for prompt, prompt_len, output_len in texts(config, tokenizer, rng):
        media = [make_item(bucket, rng) for bucket in draw_items(plan, rng)]
        sample = SampleRequest(prompt, prompt_len, output_len, multi_modal=media)
        if config.enable_multimodal_chat:
            sample.to_messages()
        yield sample


def texts(
    config: RunConfig, tokenizer: Tokenizer, rng: np.random.Generator
) -> Iterator[tuple[str, int, int]]:
    """(prompt, its tokens, output tokens) of each request. Lazy, because items draw from ``rng`` in
    between.

    Like ``random``, but without any of the tokenizer's special tokens, because a text must not
    contain image placeholders.
    """
    lens = (config.random_input_len, config.random_output_len)
    n, ratio = config.num_prompts, config.random_range_ratio
    input_lens, output_lens, offsets = draw_lengths(rng, n, ratio, lens, tokenizer)
    prefix_len = config.random_prefix_len
    allowed = tokens_without(tokenizer, tokenizer.added_special_ids)
    draw = drawer(rng, tokenizer)
    shared = shared_prefix(tokenizer, allowed, prefix_len, rng)
    for i in range(config.num_prompts):
        length = int(input_lens[i])
        if prefix_len + length < 1:
            raise ConfigError(
                f"--random-input-len: {config.random_input_len} allows empty prompts "
                f"(range ratio {config.random_range_ratio[0]:g}); use more tokens, or a prefix"
            )
        ids = shared + row(allowed, int(offsets[i]) + i, length)
        text, ids = exact_prompt(tokenizer, ids, prefix_len + length, draw)
        yield text, len(ids), int(output_lens[i])


def modality(bucket: Bucket) -> str:
    return "image" if bucket[2] == 1 else "video"


def item_plan(config: RunConfig) -> ItemPlan:
    """The plan from the flags. Raises ConfigError."""
    buckets: dict[Bucket, float] = {
        ast.literal_eval(key): p for key, p in config.random_mm_bucket_config.items()
    }
    limits = config.random_mm_limit_mm_per_prompt
    for bucket in buckets:
        if modality(bucket) not in limits:
            raise ConfigError(
                f"--random-mm-limit-mm-per-prompt: no limit for {modality(bucket)}, which is in "
                "--random-mm-bucket-config"
            )
    weights = normalized(buckets)
    used = {modality(bucket) for bucket in weights}
    limits = {name: limit for name, limit in limits.items() if name in used}
    base, ratio = config.random_mm_base_items_per_request, config.random_mm_num_mm_items_range_ratio
    least = max(0, math.floor(base * (1 - ratio)))
    most = min(sum(limits.values()), math.ceil(base * (1 + ratio)))
    if least > most:
        raise ConfigError(
            f"--random-mm-base-items-per-request: at least {least} items, but "
            f"--random-mm-limit-mm-per-prompt allows {most}"
        )
    return ItemPlan(least, most, weights, limits)


def normalized(weights: dict[Bucket, float]) -> dict[Bucket, float]:
    """The weights above 0, scaled to a sum of 1."""
    some = {bucket: weight for bucket, weight in weights.items() if weight > 0}
    total = sum(some.values())
    return {bucket: weight / total for bucket, weight in some.items()}


def draw_items(plan: ItemPlan, rng: np.random.Generator) -> Iterator[Bucket]:
    """The buckets of one request. Lazy, because making an item draws from ``rng`` in between."""
    wanted = int(rng.integers(plan.least, plan.most + 1))
    taken = dict.fromkeys(plan.limits, 0)
    weights = plan.weights
    while sum(taken.values()) < wanted and weights:
        buckets = list(weights)
        bucket = buckets[int(rng.choice(len(buckets), p=list(weights.values())))]
        kind = modality(bucket)
        if taken[kind] < plan.limits[kind]:
            taken[kind] += 1
            yield bucket
        else:
            weights = normalized({b: w for b, w in weights.items() if modality(b) != kind})


def make_item(bucket: Bucket, rng: np.random.Generator) -> Json:
    height, width, frames = bucket
    if modality(bucket) == "image":
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        return image_part(need("PIL.Image").fromarray(pixels))
    pixels = rng.integers(0, 256, (frames, height, width, 3), dtype=np.uint8)
    return video_part({"bytes": mp4(pixels)})


def mp4(frames: NDArray[np.uint8]) -> bytes:
    """An MP4 file of frames (uint8, shape (n, height, width, 3)) at 30 per second."""
    cv2 = need("cv2")
    height, width = frames.shape[1:3]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        writer = cv2.VideoWriter(
            str(path), fourcc=cv2.VideoWriter_fourcc(*"mp4v"), fps=30, frameSize=(width, height)
        )
        try:
            if not writer.isOpened():
                raise ConfigError("--random-mm-bucket-config: this OpenCV cannot write MP4 videos")
            for frame in frames:
                writer.write(frame)
        finally:
            writer.release()
        return path.read_bytes()
