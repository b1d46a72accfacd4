"""Flags become one checked configuration; every bad value is one line that names its flag."""

import argparse
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from locust.argument_parser import LocustArgumentParser

from llmbench_locust.errors import ConfigError
from llmbench_locust.options.config import build_config
from llmbench_locust.options.dotted import expand_dotted
from llmbench_locust.options.flags import add_flags
from llmbench_locust.options.table import FLAGS

PAGE = (Path(__file__).parent.parent / "data/reference/vllm-bench-serve.md").read_text()


def parse(*argv, **locust):
    parser = LocustArgumentParser()
    parser.add_argument("--host")
    add_flags(parser)
    options = parser.parse_args(expand_dotted(argv))
    for name in ("num_users", "run_time", "stop_timeout"):
        setattr(options, name, locust.get(name))
    return options


def config(*argv, **locust):
    return build_config(parse(*argv, **locust))


def page_flags():
    for block in re.split(r"\n#### ", PAGE)[1:]:
        name = re.match(r"`--([a-z0-9-]+)`", block)
        default = re.search(r"Default: `+(.*?)`+\s*$", block, re.S)
        yield name.group(1), default.group(1) if default else None


LOCUSTS_OWN = {"host", "profile"}
# Where the page shows vLLM's concrete value for what is made anew or depends on the backend.
OTHER_DEFAULT = {"request-id-prefix", "endpoint", "random-mm-limit-mm-per-prompt", "random-mm-bucket-config"}


@pytest.mark.parametrize(("name", "default"), [p for p in page_flags() if p[0] not in LOCUSTS_OWN])
def test_every_flag_of_the_page_is_there_with_its_default(name, default):
    flag = FLAGS[name.replace("-", "_")]
    if default is not None and name not in OTHER_DEFAULT:
        assert str(flag.default) == default or float(flag.default) == float(default)


def test_the_page_has_all_its_flags():
    assert len(list(page_flags())) == 80


def test_defaults():
    c = config()
    assert (c.backend, c.endpoint, c.base_url) == ("openai", "/v1/completions", "http://127.0.0.1:8000")
    assert c.sampling == {"temperature": 0.0}
    assert c.percentile_metrics == ("ttft", "tpot", "itl")
    assert c.metric_percentiles == (99.0,)
    assert c.request_rate == float("inf")
    assert c.ready_check_timeout_sec == 600
    assert re.fullmatch(r"bench-[0-9a-f]{8}-", c.request_id_prefix)
    assert c.random_range_ratio == (0.0, 0.0)
    with pytest.raises(AttributeError):
        c.seed = 1


BAD = [
    (["--request-rate", "nope"], "--request-rate: 'nope' is not a number"),
    (["--request-rate", "0"], "--request-rate: 0 is too small; more than 0"),
    (["--request-rate", "nan"], "--request-rate: 'nan' is not a number"),
    (["--burstiness", "0"], "--burstiness: 0 is too small; more than 0"),
    (["--num-prompts", "0"], "--num-prompts: 0 is too small; 1 or more"),
    (["--num-prompts", "1.5"], "--num-prompts: '1.5' is not a whole number"),
    (["--max-concurrency", "0"], "--max-concurrency: 0 is too small; 1 or more"),
    (["--goodput", "foo:1"], "--goodput: 'foo' is no objective here"),
    (["--goodput", "ttft"], "--goodput: 'ttft' is not of the form KEY:VALUE"),
    (["--goodput", "ttft:x"], "--goodput ttft: 'x' is not a number"),
    (["--goodput", "ttft:-1"], "--goodput: ttft is -1"),
    (["--goodput", "ttft:1", "ttft:2"], "--goodput: 'ttft' is given twice"),
    (["--header", "a"], "--header: 'a' is not of the form KEY=VALUE"),
    (["--header", "a b=1", "c=2"], "--header: 'a b' is no name"),
    (["--metadata", "a"], "--metadata: 'a' is not of the form KEY=VALUE"),
    (["--metric-percentiles", "0"], "--metric-percentiles: 0 is outside"),
    (["--metric-percentiles", "101"], "--metric-percentiles: 101 is outside"),
    (["--percentile-metrics", "ttft,foo"], "--percentile-metrics: 'foo' is no metric"),
    (["--ramp-up-strategy", "linear"], "--ramp-up-strategy: --ramp-up-start-rps and --ramp-up-end-rps are both needed"),
    (["--ramp-up-start-rps", "1"], "--ramp-up-start-rps and --ramp-up-end-rps need --ramp-up-strategy"),
    (
        ["--ramp-up-strategy", "linear", "--ramp-up-start-rps", "1", "--ramp-up-end-rps", "2", "--request-rate", "3"],
        "--ramp-up-strategy: give no --request-rate",
    ),
    (["--ramp-up-strategy", "linear", "--ramp-up-start-rps", "3", "--ramp-up-end-rps", "2"], "--ramp-up-start-rps: 3 is more"),
    (
        ["--ramp-up-strategy", "exponential", "--ramp-up-start-rps", "0", "--ramp-up-end-rps", "2"],
        "--ramp-up-start-rps: an exponential ramp cannot start at 0",
    ),
    (["--ramp-up-strategy", "cubic"], "--ramp-up-strategy: 'cubic' is not known"),
    (["--endpoint", "/v1/chat/completion"], "--endpoint: '/v1/chat/completion' does not fit"),
    (["--backend", "foo"], "--backend: 'foo' is not known"),
    (["--dataset-name", "foo"], "--dataset-name: 'foo' is not known"),
    (["--dataset-name", "sharegpt"], "--dataset-path: --dataset-name sharegpt needs one"),
    (["--dataset-name", "sharegpt", "--dataset-path", "/nowhere"], "--dataset-path: there is no '/nowhere'"),
    (["--dataset-name", "random-mm"], "--dataset-name: random-mm holds images, which --backend openai cannot carry"),
    (["--dataset-name", "random-rerank"], "--dataset-name: random-rerank is for pooling backends"),
    (["--backend", "openai-audio"], "--dataset-name: random holds no audio"),
    (["--backend", "tgi", "--ignore-eos"], "--ignore-eos: --backend tgi cannot carry it"),
    (["--backend", "vllm-pooling", "--top-p", "0.5"], "--top-p: --backend vllm-pooling cannot carry it"),
    (["--random-range-ratio", "1"], "--random-range-ratio: 1 is outside [0, 1)"),
    (["--random-range-ratio", '{"input": 1}'], "--random-range-ratio: "),
    (["--random-batch-size", "2"], "--random-batch-size: more than 1 is for pooling"),
    (["--base-url", "host:8000"], "--base-url: 'host:8000' has no scheme"),
    (["--base-url", "ftp://host"], "--base-url: 'ftp://host' is no server"),
    (["--port", "99999"], "--port: 99999 is no port"),
    (["--extra-body", "{"], "--extra-body: not JSON"),
    (["--extra-body", "[1]"], "--extra-body: a JSON object is wanted"),
    (["--think-time", "1"], "--think-time: only with --multi-turn"),
    (["--think-time", "3:1"], "--think-time: '3:1'"),
    (["--self-timed"], "--self-timed: --dataset-name random has no times"),
    (["--per-request", "x.txt"], "--per-request: 'x.txt'; a name that ends in .csv or .parquet"),
    (["--timeline-itl-thresholds", "50"], "--timeline-itl-thresholds: '50'"),
    (["--seed", "-1"], "--seed: -1 is too small"),
]


@pytest.mark.parametrize(("argv", "line"), BAD, ids=[" ".join(argv) for argv, _ in BAD])
def test_bad_input_is_one_line(argv, line):
    with pytest.raises(ConfigError) as caught:
        config(*argv)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_a_server_by_host_and_port_or_by_url():
    assert config("--host", "h", "--port", "9").base_url == "http://h:9"
    assert config("--host", "h:7", "--port", "9").base_url == "http://h:7"
    assert config("--host", "::1", "--port", "9").base_url == "http://[::1]:9"
    assert config("--host", "https://h/").base_url == "https://h"
    assert config("--base-url", "http://a:1", "--host", "b").base_url == "http://a:1"


def test_the_users_are_the_cap_when_there_is_no_other():
    assert config(num_users=5).max_concurrency == 5
    assert config("--max-concurrency", "3", num_users=5).max_concurrency == 3


def test_values_of_the_web_form():
    options = parse()
    options.num_prompts, options.goodput, options.ignore_eos, options.header = "7", "ttft:1 tpot:2", "true", ["a=b"]
    options.max_concurrency, options.extra_body = "", ""
    c = build_config(options)
    assert (c.num_prompts, c.goodput, c.ignore_eos, c.header) == (7, {"ttft": 1.0, "tpot": 2.0}, True, {"a": "b"})
    assert (c.max_concurrency, c.extra_body) == (None, {})


def test_flags_come_from_the_environment_too(monkeypatch):
    monkeypatch.setenv("LLMBENCH_NUM_PROMPTS", "12")
    monkeypatch.setenv("LLMBENCH_SAVE_RESULT", "true")
    monkeypatch.setenv("LLMBENCH_MODEL", "")
    c = config()
    assert (c.num_prompts, c.save_result, c.model) == (12, True, None)


def test_headers_do_not_show():
    c = config("--header", "Authorization=Bearer secret", "--base-url", "http://user:secret@h:1")
    assert "secret" not in repr(c.redacted())
    assert c.redacted()["header"] == {"Authorization": "***"}


def test_general_lengths_stand_in_for_the_datasets_own():
    assert config("--input-len", "5", "--output-len", "6").random_input_len == 5
    assert config("--input-len", "5", "--random-input-len", "9").random_input_len == 9
    assert config("--common-prefix-len", "4").random_prefix_len == 4


def test_pooling_defaults():
    c = config("--backend", "vllm-pooling")
    assert (c.percentile_metrics, c.sampling, c.endpoint) == (("e2el",), {}, "/pooling")


def test_dotted_forms():
    argv = ["--extra-body.chat_template_kwargs.enable_thinking", "false", "--extra-body.list+", "a", "--extra-body.list+=b,3"]
    assert config(*argv, "--seed", "4").extra_body == {
        "chat_template_kwargs": {"enable_thinking": False},
        "list": ["a", "b", 3],
    }
    assert config("--extra-body", '{"a": {"b": 1}}', "--extra-body.a.c", "x").extra_body == {"a": {"b": 1, "c": "x"}}
    with pytest.raises(ConfigError, match=r"--extra-body\.a: a value is missing"):
        expand_dotted(["--extra-body.a"])
    with pytest.raises(ConfigError, match="can have no keys"):
        expand_dotted(["--extra-body.a", "1", "--extra-body.a.b", "2"])


@given(st.lists(st.sampled_from(["-f", "x.py", "--seed", "1", "--base-url=http://h.y", "--header", "a.b=c"])))
def test_other_arguments_are_left_alone(argv):
    assert expand_dotted(argv) == argv


def test_help_shows_every_flag():
    parser = LocustArgumentParser()
    parser.add_argument("--host")
    add_flags(parser)
    text = parser.format_help()
    assert all(f"--{flag.name}" in text for flag in FLAGS.values())
    assert isinstance(parser, argparse.ArgumentParser)
