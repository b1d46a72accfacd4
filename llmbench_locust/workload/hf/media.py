"""Layouts of conversations, images and videos."""

from __future__ import annotations

from llmbench_locust.workload.choose import fits
from llmbench_locust.workload.hf.adapter import Context, Row
from llmbench_locust.workload.media import image_part, video_part
from llmbench_locust.workload.sample import SampleRequest


def conversation(row: Row, context: Context) -> SampleRequest | None:
    """The first question, with its image if any; its answer gives the output length."""
    said = row["conversations"]
    if len(said) < 2:
        return None
    question, answer = said[0]["value"], said[1]["value"]
    answer_len = context.tokens(answer)
    if context.config.hf_output_len is None and not fits(context.tokens(question), answer_len):
        return None
    media = (
        image_part(row["image"], folder=context.folder) if row.get("image") is not None else None
    )
    return context.with_media(question, media, context.output_len(answer_len))


def vision_arena_chat(row: Row, context: Context) -> SampleRequest:
    return _first_image(row["conversation"][0][0]["content"], row, context)


def vision_arena_bench(row: Row, context: Context) -> SampleRequest:
    return _first_image(row["turns"][0][0]["content"], row, context)


def _first_image(text: str, row: Row, context: Context) -> SampleRequest:
    return context.with_media(
        text, image_part(row["images"][0], folder=context.folder), context.output_len(128)
    )


def mmvu(row: Row, context: Context) -> SampleRequest:
    """A question about a video: its URL on the hub, or its path in a local copy."""
    choices = " ".join(f"{letter}.{text}" for letter, text in row["choices"].items())
    video = row["video"]
    if context.folder is not None and isinstance(video, str):
        video = video.replace(
            f"https://huggingface.co/datasets/{context.name}/resolve/main", context.folder
        )
    media = video_part(video, folder=context.folder)
    return context.with_media(f"{row['question']} {choices}", media, context.output_len(128))


def mm_star(row: Row, context: Context) -> SampleRequest:
    """The question before its options, with the image."""
    text = row["question"].split("Options:", 1)[0].strip()
    return context.with_media(
        text, image_part(row["image"], folder=context.folder), context.output_len(128)
    )
