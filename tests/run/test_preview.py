"""The sentence of the start form, against arithmetic."""

from __future__ import annotations

import pytest
from locust.argument_parser import LocustArgumentParser

from llmbench_locust.options.config import build_config
from llmbench_locust.options.flags import add_flags
from llmbench_locust.run.preview import outlook


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ("--num-prompts 400 --request-rate 16", "About 400 requests over 25 s, to http://h:1."),
        (
            "--num-prompts 1500 --request-rate 10 --max-concurrency 8",
            "About 1,500 requests over 150 s, at most 8 at a time, to http://h:1.",
        ),
        ("--num-prompts 3", "3 requests, all at once, to http://h:1."),
        ("--num-prompts 30 --max-concurrency 4", "30 requests, 4 at a time, to http://h:1."),
        ("--duration 20s --request-rate 5", "About 100 requests over 20 s, to http://h:1."),
        ("--duration 1m --max-concurrency 4", "Requests for 60 s, 4 at a time, to http://h:1."),
        (
            "--num-prompts 300 --ramp-up-strategy linear --ramp-up-start-rps 5 --ramp-up-end-rps 5",
            "About 300 requests over 60 s, to http://h:1.",
        ),
        (
            "--multi-turn --num-sessions 9 --num-prompts 700 --request-rate 2",
            "9 sessions, which start at 2 per second, to http://h:1.",
        ),
        (
            "--multi-turn --num-prompts 30 --concurrent-sessions 4",
            "30 requests in sessions, 4 sessions at a time, to http://h:1.",
        ),
        (
            "--multi-turn --num-prompts 30 --max-concurrency 4",
            "30 requests in sessions, which start at once, at most 4 requests at a time, to "
            "http://h:1.",
        ),
        (
            "--base-url http://h:2 --num-prompts 3",
            "3 requests, all at once, to http://h:1 and 1 more.",
        ),
        (
            "--repeat 3 --num-prompts 10 --request-rate 1",
            "3 runs of about 10 requests over 10 s, to http://h:1.",
        ),
    ],
)
def test_the_sentence(flags: str, sentence: str) -> None:
    parser = LocustArgumentParser()
    add_flags(parser)
    options = parser.parse_args(["--base-url", "http://user:secret@h:1", *flags.split()])
    told = outlook(build_config(options), planned=True)
    told = told.replace("***@", "")  # no password on a page
    assert told.replace("\N{NO-BREAK SPACE}", " ") == sentence
