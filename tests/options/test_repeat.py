"""The command that repeats a run means the same run, and says nothing twice."""

import dataclasses
import shlex

import pytest

from llmbench_locust.options.command import command_of
from tests.cli.test_command_line import config_of

LINES = (
    "llmbench serve --base-url http://127.0.0.1:8000",
    "llmbench serve --num-prompts 30 --request-rate 5 --goodput ttft:5 --sim --html a.html",
    "llmbench serve --base-url http://h:8000 --max-concurrency 4 --input-len 5 --duration 10",
    "llmbench serve --base-url http://h:8000 --backend openai-embeddings --request-rate 3",
    "llmbench serve --base-url http://h:8000 --compat 0.33 --temperature 0.5",
    "llmbench serve --base-url http://h:8000 --percentile-metrics ttft --profile --seed 7",
)


@pytest.mark.parametrize("line", LINES)
def test_a_command_is_its_own_repetition(line):
    first = config_of(line.removeprefix("llmbench serve "))
    again = command_of(first)
    assert sorted(shlex.split(again)) == sorted(shlex.split(line))
    second = config_of(again.removeprefix("llmbench serve "))
    made_anew = {"request_id_prefix": first.request_id_prefix}
    assert dataclasses.replace(second, **made_anew) == first
