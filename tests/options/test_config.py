"""Flags become one checked configuration; every bad value is one line that names its flag."""

import json
import re
from pathlib import Path
from runpy import run_path

import pytest

from llmbench_locust.backends import BACKENDS, BackendInfo, backend_names, register_backend
from llmbench_locust.errors import ConfigError
from llmbench_locust.options.config import build_config
from llmbench_locust.options.table import FLAGS

CHATS = ("--backend", "openai-chat", "--multi-turn")

PAGE = (Path(__file__).parent.parent / "data/reference/vllm-bench-serve.md").read_text()


def page_flags():
    for block in re.split(r"\n#### ", PAGE)[1:]:
        name = re.match(r"`--([a-z0-9-]+)`", block)
        default = re.search(r"Default: `+(.*?)`+\s*$", block, re.S)
        yield name.group(1), default.group(1) if default else None


LOCUSTS_OWN = {"host", "profile"}
# Where the page shows vLLM's concrete value for what is made anew or depends on the backend.
OTHER_DEFAULT = {
    "request-id-prefix",
    "endpoint",
    "random-mm-limit-mm-per-prompt",
    "random-mm-bucket-config",
}


@pytest.mark.parametrize(("name", "default"), [p for p in page_flags() if p[0] not in LOCUSTS_OWN])
def test_every_flag_of_the_page_is_there_with_its_default(name, default):
    flag = FLAGS[name.replace("-", "_")]
    if default is not None and name not in OTHER_DEFAULT:
        assert str(flag.default) == default or float(flag.default) == float(default)


def test_the_page_has_all_its_flags():
    assert len(list(page_flags())) == 80


def test_defaults(config):
    c = config()
    assert (c.backend, c.endpoint, c.base_url) == (
        "openai",
        "/v1/completions",
        "http://127.0.0.1:8000",
    )
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
    (["--request-rate", "0"], "--request-rate: 0 is too small; use a number above 0"),
    (["--request-rate", "nan"], "--request-rate: 'nan' is not a number"),
    (["--burstiness", "0"], "--burstiness: 0 is too small; use a number above 0"),
    (["--num-prompts", "0"], "--num-prompts: 0 is too small; use 1 or more"),
    (["--num-prompts", "inf"], "--num-prompts: inf needs an end; use it with --duration"),
    (["--num-prompts", "1.5"], "--num-prompts: '1.5' is not a whole number"),
    (["--output-len", "9" * 20], f"--output-len: {'9' * 20} is too large"),
    (["--max-concurrency", "0"], "--max-concurrency: 0 is too small; use 1 or more"),
    (
        ["--goodput", "foo:1"],
        "--goodput: 'foo' is not an objective here; use ttft, ttfo, tpot, e2el, as "
        "KEY:MILLISECONDS",
    ),
    (["--goodput", "ttft"], "--goodput: 'ttft' is not of the form KEY:VALUE"),
    (["--goodput", "ttft:x"], "--goodput ttft: 'x' is not a number"),
    (["--goodput", "ttft:-1"], "--goodput: ttft is -1"),
    (["--goodput", "ttft:1", "ttft:2"], "--goodput: 'ttft' is given twice"),
    (["--header", "a"], "--header: 'a' is not of the form KEY=VALUE"),
    (
        ["--header", "a b=1", "c=2"],
        "--header: 'a b' is not a header name; use letters, digits and hyphens",
    ),
    (["--metadata", "a"], "--metadata: 'a' is not of the form KEY=VALUE"),
    (
        ["--metric-percentiles", "0"],
        "--metric-percentiles: 0 is not a percentile; use numbers above 0 and at most 100",
    ),
    (
        ["--metric-percentiles", "101"],
        "--metric-percentiles: 101 is not a percentile; use numbers above 0 and at most 100",
    ),
    (
        ["--percentile-metrics", "ttft,foo"],
        "--percentile-metrics: 'foo' is not a metric; use some of ttft, ttfo, tpot, itl, e2el,",
    ),
    (
        ["--ramp-up-strategy", "linear"],
        "--ramp-up-strategy: --ramp-up-start-rps and --ramp-up-end-rps are both needed",
    ),
    (
        ["--ramp-up-start-rps", "1"],
        "--ramp-up-start-rps and --ramp-up-end-rps need --ramp-up-strategy",
    ),
    (
        [
            "--ramp-up-strategy",
            "linear",
            "--ramp-up-start-rps",
            "1",
            "--ramp-up-end-rps",
            "2",
            "--request-rate",
            "3",
        ],
        "--ramp-up-strategy: cannot be used with --request-rate; use --ramp-up-start-rps and",
    ),
    (
        ["--ramp-up-strategy", "linear", "--ramp-up-start-rps", "3", "--ramp-up-end-rps", "2"],
        "--ramp-up-start-rps: 3 is more",
    ),
    (
        ["--ramp-up-strategy", "exponential", "--ramp-up-start-rps", "0", "--ramp-up-end-rps", "2"],
        "--ramp-up-start-rps: an exponential ramp cannot start at 0",
    ),
    (["--ramp-up-strategy", "cubic"], "--ramp-up-strategy: 'cubic' is not known"),
    (["--endpoint", "/v1/chat/completion"], "--endpoint: '/v1/chat/completion' does not fit"),
    (["--backend", "foo"], "--backend: 'foo' is not known"),
    (["--dataset-name", "foo"], "--dataset-name: 'foo' is not known"),
    (["--dataset-name", "sharegpt"], "--dataset-path: --dataset-name sharegpt needs one"),
    (
        ["--dataset-name", "sharegpt", "--dataset-path", "/nowhere"],
        "--dataset-path: file not found: '/nowhere'",
    ),
    (
        ["--dataset-name", "random-mm"],
        "--dataset-name: random-mm holds images, which --backend openai does not support",
    ),
    (["--dataset-name", "random-rerank"], "--dataset-name: random-rerank is for pooling backends"),
    (["--backend", "openai-audio"], "--dataset-name: random holds no audio"),
    (["--backend", "tgi", "--ignore-eos"], "--ignore-eos: --backend tgi does not support it"),
    (
        ["--backend", "vllm-pooling", "--top-p", "0.5"],
        "--top-p: --backend vllm-pooling does not support it",
    ),
    (
        ["--random-range-ratio", "1"],
        "--random-range-ratio: 1 is not in [0, 1); use 0 or more and less than 1",
    ),
    (["--random-range-ratio", '{"input": 1}'], "--random-range-ratio: "),
    (["--base-url", "host:8000"], "--base-url: 'host:8000' has no scheme"),
    (
        ["--base-url", "ftp://host"],
        "--base-url: 'ftp://host' is not a server's URL; use http://host:port or https://host",
    ),
    (["--port", "99999"], "--port: 99999 is not a port; use 1 to 65535"),
    (["--extra-body", "{"], "--extra-body: not JSON"),
    (
        ["--extra-body", "[1]"],
        "--extra-body: list is not an object; use a JSON object such as '{\"key\": 1}'",
    ),
    (["--think-time", "1"], "--think-time: only with --multi-turn"),
    (["--think-time", "3:1"], "--think-time: '3:1'"),
    (["--self-timed"], "--self-timed: --dataset-name random has no times"),
    (
        ["--per-request", "x.txt"],
        "--per-request: 'x.txt' is not a table; use a name that ends in .csv or .parquet",
    ),
    (["--timeline-itl-thresholds", "50"], "--timeline-itl-thresholds: '50'"),
    (["--seed", "-1"], "--seed: -1 is too small"),
    (["--seed", "4294967296"], "--seed: 4294967296 is too large; use 0 to 4294967295"),
    (["--request-rate=-inf"], "--request-rate: -inf is too small; use a number above 0"),
    (["--num-prompts", "-12345678"], "--num-prompts: -12345678 is too small; use 1 or more"),
    (["--num-warmups", "-1"], "--num-warmups: -1 is too small; use 0 or more"),
    (["--random-output-len", "0"], "--random-output-len: 0 is too small; use 1 to 100000000"),
    (
        ["--custom-output-len", "0"],
        "--custom-output-len: 0 is not allowed; use 1 or more, or -1 for each line's",
    ),
    (["--request-timeout", "inf"], "--request-timeout: inf is not allowed; use a finite number"),
    (["--request-timeout", "0"], "--request-timeout: 0 is too small; use a number above 0"),
    (["--temperature", "-0.5"], "--temperature: -0.5 is too small; use 0 or more"),
    (["--temperature", "inf"], "--temperature: inf is not allowed; use a finite number"),
    (["--top-p", "0"], "--top-p: 0 is too small; use a number above 0 and at most 1"),
    (["--top-p", "1.5"], "--top-p: 1.5 is too large; use a number above 0 and at most 1"),
    (["--min-p", "-1"], "--min-p: -1 is too small; use 0 to 1"),
    (["--top-k", "-2"], "--top-k: -2 is too small; use -1 or more"),
    (["--repetition-penalty", "0"], "--repetition-penalty: 0 is too small; use a number above 0"),
    (
        ["--goodput", "itl:5"],
        "--goodput: 'itl' is not an objective here; use ttft, ttfo, tpot, e2el, as "
        "KEY:MILLISECONDS",
    ),
    (["--goodput", "ttft:inf"], "--goodput: ttft is inf; use milliseconds, 0 or more"),
    (["--goodput", "ttft:nan"], "--goodput ttft: 'nan' is not a number"),
    (
        ["--backend", "vllm-pooling", "--goodput", "ttft:5"],
        "--goodput: 'ttft' is not an objective here; use e2el, as KEY:MILLISECONDS",
    ),
    (
        ["--header", "A=1", "a=2"],
        "--header: 'A' is given twice (header names ignore case); give it once",
    ),
    (
        ["--header", "Authorization: Bearer s3cret"],
        "--header: 'Authorization' is not of the form KEY=VALUE",
    ),
    (
        ["--header", "Content-Length=5"],
        "--header: 'Content-Length' is set by the client; leave it out",
    ),
    (
        ["--header", "a=b\r\nc: d"],
        "--header: the value of 'a' has characters that a header cannot hold; use Latin-1",
    ),
    (["--metadata", "a=1", "a=2"], "--metadata: 'a' is given twice"),
    (
        ["--percentile-metrics", ","],
        "--percentile-metrics: no metric given; use some of ttft, ttfo, tpot, itl, e2el,",
    ),
    (["--metric-percentiles", ","], "--metric-percentiles: no percentile given"),
    (["--metric-percentiles", "nan"], "--metric-percentiles: 'nan' is not a number"),
    (
        ["--endpoint", "http://h/v1/completions"],
        "--endpoint: 'http://h/v1/completions' is not a path; use a path such as",
    ),
    (
        ["--backend", "openai-chat", "--endpoint", "/v1/completions"],
        "--endpoint: '/v1/completions' does not fit --backend openai-chat",
    ),
    (
        ["--base-url", "http://h:8000/v1"],
        "--base-url: /v1 is also in --endpoint /v1/completions; leave it out of one of them",
    ),
    (
        ["--base-url", "http://u:pw@h", "--header", "authorization=Bearer x"],
        "--header: Authorization is what the user and password in the server's URL become; "
        "give one of them",
    ),
    (
        ["--base-url", "http://h:99999"],
        "--base-url: 'http://h:99999' is not a server's URL; use http://host:port or",
    ),
    (
        ["--base-url", "http://u:s3cret@h:0"],
        "--base-url: 'http://***@h:0' is not a server's URL; use http://host:port or",
    ),
    (
        ["--base-url", "http://h", "--sim"],
        "--base-url: cannot be used with --sim, which starts its own server",
    ),
    (["--host", "a b"], "--host: 'a b' is not a host; use a name, an address or http://host:port"),
    (
        ["--host", "h/v1"],
        "--host: 'h/v1' is not a host; use a name, an address or http://host:port",
    ),
    (
        ["--host", "h:port"],
        "--host: 'h:port' is not a host; use a name, an address or http://host:port",
    ),
    (["--sim-args", "--seed 1"], "--sim-args: only with --sim"),
    (
        ["--dataset-path", "x.json"],
        "--dataset-path: --dataset-name random makes its prompts itself",
    ),
    (
        ["--dataset-name", "sonnet", "--dataset-path", "/nowhere"],
        "--dataset-path: file not found: '/nowhere'",
    ),
    (
        ["--dataset-name", "custom", "--dataset-path", "/"],
        "--dataset-path: cannot read '/'; use a file that can be read",
    ),
    (
        ["--dataset-name", "hf", "--dataset-path", "./nowhere"],
        "--dataset-path: file not found: './nowhere'",
    ),
    (["--mix", "/nowhere.json"], "--mix: cannot read '/nowhere.json'; it must be a JSON file"),
    (["--backend", "vllm-rerank"], "--dataset-name: random has no documents to rank"),
    (
        ["--backend", "vllm-pooling", "--use-beam-search"],
        "--use-beam-search: --backend vllm-pooling does not support it",
    ),
    (
        ["--backend", "anthropic", "--logprobs", "1"],
        "--logprobs: --backend anthropic does not support it",
    ),
    (["--backend", "ollama", "--ignore-eos"], "--ignore-eos: --backend ollama does not support it"),
    (["--trace-speedup", "2"], "--trace-speedup: only with --self-timed"),
    (
        [
            "--dataset-name",
            "burstgpt",
            "--dataset-path",
            __file__,
            "--self-timed",
            "--request-rate",
            "1",
        ],
        "--request-rate: cannot be used with the times of the trace; to ignore the times use --no",
    ),
    (["--multi-turn-num-turns", "4"], "--multi-turn-num-turns: only with --multi-turn"),
    (["--random-cache-ratio", "0.5"], "--random-cache-hit-fraction and --random-cache-ratio: both"),
    (
        ["--multi-turn", "--multi-turn-prefix-global-ratio", "1"],
        "--multi-turn-prefix-global-ratio and --multi-turn-prefix-conversation-ratio: their sum",
    ),
    (
        ["--multi-turn", "--dataset-name", "sonnet"],
        "--multi-turn: --dataset-name sonnet has no conversations",
    ),
    (
        [
            "--multi-turn",
            "--dataset-name",
            "sharegpt",
            "--dataset-path",
            __file__,
            "--backend",
            "vllm-pooling",
        ],
        "--multi-turn: --backend vllm-pooling generates no answers",
    ),
    (
        ["--ramp-up-strategy", "linear", "--ramp-up-start-rps", "0", "--ramp-up-end-rps", "0"],
        "--ramp-up-end-rps: 0 is too small; use a number above 0",
    ),
    (
        ["--random-mm-num-mm-items-range-ratio", "1.5"],
        "--random-mm-num-mm-items-range-ratio: 1.5 is too large",
    ),
    (
        ["--backend", "tensorrt-llm", "--lora-modules", "a"],
        "--lora-modules: --backend tensorrt-llm has no LoRA modules",
    ),
    (["--llm-html", "/tmp"], "--llm-html: '/tmp' is a directory"),
    (
        ["--extra-body", '{"a": 1e400}'],
        "--extra-body: not JSON (1e400 is too large); use an object such as '{\"key\": 1}'",
    ),
    (
        ["--extra-body", '{"a": NaN}'],
        "--extra-body: not JSON (NaN is not a JSON value); use an object such as '{\"key\": 1}'",
    ),
    (
        ["--random-mm-limit-mm-per-prompt", '{"smell": 1}'],
        "--random-mm-limit-mm-per-prompt: 'smell' is not a modality; use image, video or",
    ),
    (
        ["--random-mm-limit-mm-per-prompt", '{"image": -1}'],
        "--random-mm-limit-mm-per-prompt: image is -1; use a whole number, 0 or more",
    ),
    (
        ["--random-mm-bucket-config", "{"],
        '--random-mm-bucket-config: cannot be read; use an object such as {"(256, 256, 1)":',
    ),
    (
        ["--random-mm-bucket-config", '{"(1, 2)": 1}'],
        "--random-mm-bucket-config: '(1, 2)' is not a bucket; use \"(height, width, frames)\"",
    ),
    (
        ["--random-mm-bucket-config", '{"(1, 2, 1)": -1}'],
        "--random-mm-bucket-config: the probability of '(1, 2, 1)' is -1",
    ),
    (
        ["--random-mm-bucket-config", '{"(1, 2, 1)": 0}'],
        "--random-mm-bucket-config: all probabilities are 0",
    ),
    (
        ["--search", "max-concurrency", "--min", "1.5"],
        "--min: 1.5 users; use a whole number",
    ),
    (
        ["--blazedit-min-distance", "0.5", "--blazedit-max-distance", "0.4"],
        "--blazedit-max-distance: 0.4 is below --blazedit-min-distance, which is 0.5",
    ),
    (
        ["--asr-min-audio-len-sec", "5", "--asr-max-audio-len-sec", "4"],
        "--asr-max-audio-len-sec: 4 is below",
    ),
    (["--result-dir", __file__], f"--result-dir: {__file__!r} is not a directory"),
    (["--llm-html", "/"], "--llm-html: '/' is a directory"),
    (["--save-result", "--num-prompts", "many"], "--num-prompts: 'many' is not a whole number"),
]


def test_connections_ahead_are_a_number_or_auto(config):
    given = [config("--prewarm-connections", n).prewarm_connections for n in ("auto", "0", "7")]
    assert given == [None, 0, 7]
    for bad in ("-1", "\N{SUPERSCRIPT TWO}"):
        with pytest.raises(ConfigError, match=r"--prewarm-connections: '.*'; use a number from 0"):
            config(f"--prewarm-connections={bad}")


def test_values_that_no_shell_can_type(config):
    """A web form can send a NUL, and a file can hold any JSON."""
    with pytest.raises(ConfigError, match=r"^--result-dir: has a NUL character$"):
        config("--result-dir", "a\0b")
    with pytest.raises(ConfigError, match=r" is not a ratio; use a number or "):
        config("--random-range-ratio", '{"a":' * 50_000)


@pytest.mark.parametrize(("argv", "line"), BAD, ids=[" ".join(argv) for argv, _ in BAD])
def test_bad_input_is_one_line(config, argv, line):
    with pytest.raises(ConfigError) as caught:
        config(*argv)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_a_server_by_host_and_port_or_by_url(config):
    assert config("--host", "h", "--port", "9").base_url == "http://h:9"
    assert config("--host", "h:7", "--port", "9").base_url == "http://h:7"
    assert config("--host", "::1", "--port", "9").base_url == "http://[::1]:9"
    assert config("--host", "https://h/").base_url == "https://h"
    assert config("--base-url", "http://a:1", "--host", "b").base_url == "http://a:1"


def test_the_users_are_the_cap_when_there_is_no_other(config):
    assert config(num_users=5).max_concurrency == 5
    assert config("--max-concurrency", "3", num_users=5).max_concurrency == 3


def test_values_of_the_web_form(parse):
    options = parse()
    options.num_prompts, options.goodput, options.ignore_eos, options.header = (
        "7",
        "ttft:1 tpot:2",
        "true",
        ["a=b"],
    )
    options.max_concurrency, options.extra_body = "", ""
    c = build_config(options)
    assert (c.num_prompts, c.goodput, c.ignore_eos, c.header) == (
        7,
        {"ttft": 1.0, "tpot": 2.0},
        True,
        {"a": "b"},
    )
    assert (c.max_concurrency, c.extra_body) == (None, {})


def test_headers_do_not_show(config):
    c = config("--header", "X-Api-Key=Bearer hunter2", "--base-url", "http://user:hunter2@h:1")
    assert "hunter2" not in repr(c.redacted())
    assert c.redacted()["header"] == {"X-Api-Key": "***"}


def test_general_lengths_stand_in_for_the_datasets_own(config):
    assert config("--input-len", "5", "--output-len", "6").random_input_len == 5
    assert config("--input-len", "5", "--random-input-len", "9").random_input_len == 5
    path = ("--dataset-path", __file__, "--output-len", "6")
    assert config("--dataset-name", "sharegpt", *path).sharegpt_output_len == 6
    assert config("--dataset-name", "custom", *path).custom_output_len == 6
    assert config("--common-prefix-len", "4").random_prefix_len == 4


def test_pooling_defaults(config):
    c = config("--backend", "vllm-pooling")
    assert (c.percentile_metrics, c.sampling, c.endpoint) == (("e2el",), {}, "/pooling")


def test_the_users_that_are_no_cap_are_named_by_their_own_flag(config):
    with pytest.raises(ConfigError, match=r"^--users: 0 is too small; use 1 or more$"):
        config(num_users=0)


@pytest.mark.parametrize(
    ("seconds", "read"), [("90", 90), ("1m30s", 90), (2.5, 2.5), (None, None), ("", None)]
)
def test_run_times(config, seconds, read):
    assert config(run_time=seconds).run_time_s == read
    with pytest.raises(ConfigError, match="--stop-timeout: 'soon' is not a time"):
        config(stop_timeout="soon")


def test_times_are_not_negative(config):
    with pytest.raises(
        ConfigError, match=r"^--run-time: -1 is not a duration; use seconds, 0 or more$"
    ):
        config(run_time=-1.0)


def test_a_ramp_may_be_level_and_may_start_at_0(config):
    assert (
        config(
            "--ramp-up-strategy",
            "exponential",
            "--ramp-up-start-rps",
            "2",
            "--ramp-up-end-rps",
            "2",
        ).ramp_up_end_rps
        == 2
    )
    assert (
        config(
            "--ramp-up-strategy", "linear", "--ramp-up-start-rps", "0", "--ramp-up-end-rps", "2"
        ).ramp_up_start_rps
        == 0
    )


def test_keywords_of_the_chat_template_go_to_the_server_that_applies_it(config):
    argv = ("--chat-template-kwargs.enable_thinking", "false", "--use-beam-search")
    c = config(*argv, "--backend", "openai-chat")
    assert c.chat_template_kwargs == {"enable_thinking": False}
    assert c.extra_body == {
        "chat_template_kwargs": {"enable_thinking": False},
        "use_beam_search": True,
    }
    assert config(*argv).extra_body == {"use_beam_search": True}
    own = (
        "--extra-body.chat_template_kwargs.enable_thinking",
        "true",
        "--extra-body.use_beam_search",
        "false",
    )
    assert config(*argv, *own, "--backend", "openai-chat").extra_body == {
        "chat_template_kwargs": {"enable_thinking": True},
        "use_beam_search": False,
    }


def test_a_backend_whose_package_does_not_load_is_one_line(config, tmp_path, monkeypatch):
    info = tmp_path / "broken-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[llmbench_locust.backends]\nbroken = no_such_module:Protocol\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert "broken" in backend_names()
    with pytest.raises(
        ConfigError,
        match=r"^--backend: 'broken' comes from no_such_module:Protocol, which cannot be loaded",
    ):
        config("--backend", "broken")


def test_random_prompts_are_answered_to_the_full_length_where_it_can_be_asked_for(config):
    assert config().ignore_eos
    assert not config("--dataset-name", "sharegpt", "--dataset-path", __file__).ignore_eos
    assert config(
        "--dataset-name", "sharegpt", "--dataset-path", __file__, "--ignore-eos"
    ).ignore_eos
    assert not config("--backend", "anthropic").ignore_eos


def test_ollama_is_chat_by_its_endpoint(config):
    assert not config("--backend", "ollama").backend_info.chat
    assert config("--backend", "ollama", "--endpoint", "/api/chat").backend_info.chat


def test_words_that_hold_no_blank_are_parted_in_a_list_too(parse):
    options = parse()
    options.goodput, options.lora_modules = ["ttft:1 tpot:2"], ["a b", "c"]
    assert build_config(options).goodput == {"ttft": 1.0, "tpot": 2.0}
    assert build_config(options).lora_modules == ("a", "b", "c")


def test_buckets_in_json_and_as_vllm_writes_them(config):
    wanted = {"(256, 256, 1)": 0.5, "(720, 1280, 16)": 0.1}
    for text in (
        '{"(256, 256, 1)": 0.5, "(720,1280,16)": 0.1}',
        "{(256, 256, 1): 0.5, (720, 1280, 16): 0.1}",
    ):
        assert config("--random-mm-bucket-config", text).random_mm_bucket_config == wanted
    assert config().random_mm_bucket_config == {
        "(256, 256, 1)": 0.5,
        "(720, 1280, 1)": 0.5,
        "(720, 1280, 16)": 0.0,
    }


def test_a_report_can_be_written_as_json_and_shows_no_secret(config):
    argv = [
        "--header",
        "X-Api-Key=s3cret",
        "--extra-body",
        '{"provider": {"api_key": "s3cret"}, "max_tokens": 5}',
    ]
    path = ("--dataset-name", "hf", "--dataset-path", "https://u:s3cret@h/d.json")
    shown = config(*argv, "--base-url", "https://u:s3cret@h/x", *path).redacted()
    text = json.dumps(shown, allow_nan=False)
    assert "s3cret" not in text
    assert shown["extra_body"] == {"provider": {"api_key": "***"}, "max_tokens": 5}
    assert (shown["base_url"], shown["request_rate"], shown["header"]) == (
        "https://***@h/x",
        "inf",
        {"X-Api-Key": "***"},
    )


def test_a_backend_of_a_locustfile(config):
    register_backend(BackendInfo("mine", "/generate", ("generate",), sampling=("temperature",)))
    try:
        c = config("--backend", "mine")
        assert (c.endpoint, c.backend_info.name, c.sampling) == (
            "/generate",
            "mine",
            {"temperature": 0.0},
        )
        assert "mine" in backend_names()
    finally:
        del BACKENDS["mine"]


def test_the_page_of_flags_is_up_to_date():
    docs = Path(__file__).parent.parent.parent / "docs"
    page = (docs / "flags.md").read_text()
    assert page == run_path(str(docs / "flags.py"))["page"](page), "python docs/flags.py"
    assert all(f"| `--{flag.name}` |" in page for flag in FLAGS.values())


def test_newer_defaults_hold_unless_a_flag_was_given(config):
    assert config("--compat", "0.33").ready_check_timeout_sec == 0
    assert "temperature" not in config("--compat", "0.33").sampling
    assert (
        config("--compat", "0.33", "--ready-check-timeout-sec", "600").ready_check_timeout_sec
        == 600
    )
    assert config("--compat", "0.33", "--temperature", "0").sampling["temperature"] == 0
    assert config().ready_check_timeout_sec == 600
    assert config().sampling["temperature"] == 0


@pytest.mark.parametrize(
    ("flags", "count"),
    [
        (("--duration", "90s", "--request-rate", "10"), 900),
        (("--duration", "1h30m", "--request-rate", "0.5"), 2700),
        (("--duration", "10", "--max-concurrency", "100"), 4000),
        (("--duration", "1s", "--max-concurrency", "1"), 1000),
    ],
)
def test_a_duration_sets_the_number_of_requests(config, flags, count):
    assert config(*flags).num_prompts == count


@pytest.mark.parametrize("text", ["3x", "-3s", "0s", "soon"])
def test_what_is_no_duration_is_refused(config, text):
    with pytest.raises(ConfigError, match=f"--duration: '{text}' is not a time"):
        config(f"--duration={text}", "--request-rate", "1")


def test_a_duration_needs_a_rate_or_a_cap(config):
    with pytest.raises(ConfigError, match="use it with --request-rate or --max-concurrency"):
        config("--duration", "5s")


def test_several_servers(config):
    several = config("--base-url", "http://a:1", "--base-url", "https://b/x/")
    assert several.base_urls == ("http://a:1", "https://b/x")
    assert several.base_url == "http://a:1"
    assert several.with_server("http://c").base_urls == ("http://c",)
    with pytest.raises(ConfigError, match="given twice"):
        config("--base-url", "http://a:1", "--base-url", "http://a:1/")
    with pytest.raises(ConfigError, match="--balance: needs more than one --base-url"):
        config("--base-url", "http://a:1", "--balance", "session")


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (("--slo", "p99_ttft_ms<=3"), "--slo: only with --capacity"),
        (("--resume", "nowhere.journal"), "--resume: 'nowhere.journal' is not a file"),
        (("--resume", "."), "--resume: '.' is not a file"),
        ((*CHATS, "--session-header", "X-A: b"), "--session-header: 'X-A: b' is not a header name"),
        ((*CHATS, "--session-echo", "a\r\nb"), "--session-echo: .* is not a header name"),
        (("--request-id-prefix", "\u20ac"), "--request-id-prefix: '\u20ac' has characters that"),
        (("--request-id-prefix", "a\r\nb: c"), "--request-id-prefix: .* has characters that"),
    ],
)
def test_what_would_be_ignored_or_break_a_header_is_refused(config, argv, line):
    with pytest.raises(ConfigError, match=line):
        config(*argv)
