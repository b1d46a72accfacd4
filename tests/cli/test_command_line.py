"""`llmbench serve` takes what `vllm bench serve` takes, and hands it to Locust."""

import json
import re
import shlex
from functools import cache
from pathlib import Path

import pytest
from locust.argument_parser import get_empty_argument_parser, setup_parser_arguments

from llmbench_locust.cli import main
from llmbench_locust.cli.command_line import RENAMED, flags_of_file, locust_argv
from llmbench_locust.cli.serve import _locust_options
from llmbench_locust.errors import ConfigError
from llmbench_locust.options.config import build_config
from llmbench_locust.options.dotted import expand_dotted, overridden
from llmbench_locust.options.flags import add_flags

DATA = Path(__file__).parent.parent / "data"
VLLM_FLAGS = json.loads((DATA / "vllm_flags.json").read_text())
COMMAND_LINES = (DATA / "command_lines.txt").read_text().splitlines()
VALUES = {"int": "3", "float": "0.5", "JSON": '{"image": 2}', "Python dict": "{(8, 8, 1): 1.0}"}
TEXTS = {
    "dataset-name": "random",
    "backend": "openai",
    "base-url": "http://h:1",
    "goodput": "ttft:3",
    "header": "a=b",
    "metadata": "a=b",
}


def translate(*words):
    return locust_argv(words, _locust_options())


@cache
def parser():
    made = get_empty_argument_parser(default_config_files=[])
    setup_parser_arguments(made)
    add_flags(made)
    return made


def options_of(*words):
    """What Locust's parser makes of a command line of `llmbench serve`."""
    return parser().parse_args(expand_dotted(translate(*words)))


def config_of(line):
    return build_config(options_of(*shlex.split(line)))


@pytest.mark.parametrize("separator", ["-", "_"])
@pytest.mark.parametrize("name", VLLM_FLAGS)
def test_every_flag_of_vllm_is_taken_with_dashes_and_with_underscores(name, separator):
    row = VLLM_FLAGS[name]
    value = TEXTS.get(name) or VALUES.get(row["type"], "x")
    words = [f"--{name.replace('-', separator)}", *([] if row["kind"] == "switch" else [value])]
    dest = RENAMED.get(name, name).replace("-", "_")
    given = getattr(options_of(*words), dest)
    assert given in (True, "true") if row["kind"] == "switch" else value.split("=")[0] in given


REFUSED = {  # as vLLM refuses it, too: the ratio of old scripts had another meaning
    "--random-range-ratio 1.0": "--random-range-ratio"
}


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_command_lines_as_people_write_them_are_understood(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = re.search(r"--dataset-path[ =]\"?([^ \"]+)", line)
    if found and "hf" not in line:
        path = Path(found[1])
        subset = re.search(r"--speed-bench-dataset-subset (\w+)", line)
        if "speed_bench" in line:
            path /= f"{subset[1] if subset else 'qualitative'}.jsonl"
        path = tmp_path / path.relative_to(path.anchor)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
        line = line.replace(' "/tmp/', ' "tmp/')
    refused = [name for part, name in REFUSED.items() if part in line]
    if refused:
        with pytest.raises(ConfigError, match=refused[0]):
            config_of(line)
    else:
        assert config_of(line).num_prompts != 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--random-input", "200"], ["--random-input-len", "200"]),
        (["--num_p=3"], ["--num-prompts=3"]),
        (["--head", "A=1", "B=2"], ["--header", "A=1", "B=2"]),
        (["--extra_body.a_b.c", "1"], ["--extra-body.a_b.c", "1"]),
        (["--profile"], ["--vllm-profile"]),
        (["--html", "r.html"], ["--llm-html", "r.html"]),
        (["-t", "60s", "--processes", "2"], ["-t", "60s", "--processes", "2"]),
        (["-t60s"], ["-t60s"]),
        (["--sim-args", "--clock fixed --itl-ms 5"],) * 2,
        (["--presence-penalty", "-0.5", "--seed", "1"],) * 2,
    ],
)
def test_names_become_the_full_ones_and_values_stay(words, expected):
    assert translate(*words) == expected


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--num", "3"], "--num: ambiguous; it could be --num-prompts, --num-warmups"),
        (["--reqest-rate", "3"], "--reqest-rate: unknown flag; did you mean --request-rate?"),
        (["--endpoint-type", "openai"], "--endpoint-type: unknown flag"),
        (["sharegpt"], "unexpected argument 'sharegpt'"),
        (["--seed", "1", "2"], "unexpected argument '2'"),
        (["--locustfile", "x.py"], "--locustfile: not an option of llmbench serve"),
    ],
)
def test_what_is_not_understood_is_one_line_with_status_2(words, said, capsys):
    assert main(["serve", *words]) == 2
    line = capsys.readouterr().err.strip()
    assert said in line
    assert "\n" not in line


def test_a_yaml_file_gives_flags_and_the_command_line_wins(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(
        "num_prompts: 7\nsave-result: true\nself-timed: false\ngoodput: [ttft:300, tpot:40]\n"
        "extra-body: {stop: [a]}\nseed: 3\n"
    )
    assert flags_of_file(path) == [
        *("--num-prompts", "7", "--save-result", "--no-self-timed"),
        *("--goodput", "ttft:300", "tpot:40", "--extra-body", '{"stop": ["a"]}', "--seed", "3"),
    ]
    options = options_of("--seed", "4", "--config", str(path))
    assert (options.seed, options.num_prompts) == ("4", "7")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed: 1\nnum-promps: 3\n", "line 2: unknown flag num-promps; did you mean num-prompts?"),
        ("- a\n", "must hold flags"),
        ("seed: 1\na: [", "line 2: not YAML: expected the node content"),
        ("seed: 1\nrequest-rate: abc\n", "line 2: --request-rate: 'abc' is not a number"),
        ("request-rate: -1\n", "line 1: --request-rate: -1 is too small"),
        ("backend: opnai\n", "line 1: --backend: 'opnai' is not known; did you mean openai?"),
    ],
)
def test_a_bad_yaml_file_is_named_with_its_line(tmp_path, text, said):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said.replace("?", r"\?")):
        translate("--config", str(path))


def test_a_missing_yaml_file_is_named():
    with pytest.raises(ConfigError, match=r"--config: /nowhere/x\.yaml cannot be read"):
        translate("--config=/nowhere/x.yaml")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--help"], "Examples:"),
        (["--help=all"], "--timed-trace-sec-multiplier"),
        (["--help=sampling"], "--top-p"),
        (["--help=goodput"], "--goodput"),
        (["--help=zzz"], "No group and no flag matches"),
    ],
)
def test_help_is_short_and_finds_groups_and_texts(words, wanted, capsys):
    assert main(["serve", *words]) == 0
    page = capsys.readouterr().out
    assert wanted in page
    if words == ["--help"]:
        assert page.count("\n") <= 50
        assert "Exit status: 0 completed; 1 a file or worker" in page


def test_servers_of_the_command_line_replace_those_of_a_file():
    file = ["--base-url", "http://a", "--seed", "1", "--base_url=http://b"]
    assert overridden(file, ["--base-url=http://c"]) == ["--seed", "1", "--base-url=http://c"]
    assert overridden(file, ["--seed", "2"]) == [*file, "--seed", "2"]
