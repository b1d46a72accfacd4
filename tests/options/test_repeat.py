"""The command that repeats a run means the same run, and says nothing twice."""

import dataclasses
import shlex

import pytest

from llmbench_locust.options.command import command_of
from tests.cli.test_command_line import config_of

CHATS = "--multi-turn --backend openai-chat"
LINES = (
    "llmbench serve --base-url http://127.0.0.1:8000",
    "llmbench serve --num-prompts 30 --request-rate 5 --goodput ttft:5 --sim --html a.html",
    "llmbench serve --base-url http://h:8000 --max-concurrency 4 --input-len 5 --duration 10",
    "llmbench serve --base-url http://h:8000 --backend openai-embeddings --request-rate 3",
    "llmbench serve --base-url http://h:8000 --compat 0.33 --temperature 0.5",
    "llmbench serve --base-url http://h:8000 --percentile-metrics ttft --profile --seed 7",
    "llmbench serve --sim --dataset-name sonnet --ignore-eos --request-rate 12.3456789",
    "llmbench serve --sim --compat 0.33 --ready-check-timeout-sec 600 --temperature 0.0",
    'llmbench serve --sim --random-range-ratio \'{"input": 0.1, "output": 0.2}\'',
    "llmbench serve --sim --server-metrics http://a:1/m http://b:1/m --gpu-metrics nvml#0,1",
    "llmbench serve --sim --check 'p99_ttft_ms<=3' --check 'failed<=0' --metadata a=b 'c=d e'",
    "llmbench serve --sim --run-time 30s --stop-timeout 5 --metric-percentiles 50,99.99999",
    f"llmbench serve --sim {CHATS} --think-time 1:5.5 --max-delay 3.3333333333",
    f"llmbench serve --sim {CHATS} --user-rate 2 --users 5",
)


@pytest.mark.parametrize("line", LINES)
def test_a_command_is_its_own_repetition(line):
    first = config_of(line.removeprefix("llmbench serve "))
    again = command_of(first)
    assert sorted(shlex.split(again)) == sorted(shlex.split(line))
    second = config_of(again.removeprefix("llmbench serve "))
    made_anew = {"request_id_prefix": first.request_id_prefix}
    assert dataclasses.replace(second, **made_anew) == first


def test_a_command_says_no_secret():
    pages = "--server-metrics http://u:s3cret@a/m?key=s3cret --gpu-metrics http://u:s3cret@b/m"
    said = command_of(config_of(f"{pages} --dataset-name hf --dataset-path https://u:s3cret@h/x"))
    assert "http://***@a/m" in said
    assert "s3cret" not in said


def test_the_path_of_a_file_is_no_url(tmp_path, monkeypatch):
    (tmp_path / "data@v2").mkdir()
    (tmp_path / "data@v2" / "x.jsonl").touch()
    monkeypatch.chdir(tmp_path)
    said = command_of(config_of("--dataset-name custom --dataset-path data@v2/x.jsonl"))
    assert "--dataset-path data@v2/x.jsonl" in said


@pytest.mark.parametrize(
    "several",
    ["--capacity --slo 'mean_ttft_ms<=3' --budget 9s --resume results/capacity-1", "--repeat 3"],
)
def test_a_probe_and_one_of_several_runs_are_repeated_alone(several):
    one = config_of(command_of(config_of(several)).removeprefix("llmbench serve "))
    assert (one.capacity, one.repeat, one.slo, one.resume) == (False, 1, (), None)
    assert (one.reset_cache, one.cache_bust) == ("auto", "auto")
