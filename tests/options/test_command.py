"""Flags as a user gives them: to a real `locust` process, before and after -f, by environment and
configuration file.
"""

import re

import pytest

from llmbench_locust.backends import backend_names
from llmbench_locust.options.table import FLAGS
from llmbench_locust.options.values import show

HEADLESS = ("-f", "x.py", "--headless")


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        (
            [*HEADLESS, "--extra-body.chat_template_kwargs.enable_thinking", "false"],
            {"extra_body": {"chat_template_kwargs": {"enable_thinking": False}}},
        ),
        (
            ["--extra-body.list+=b,c", *HEADLESS, "--seed", "3"],
            {"extra_body": {"list": ["b", "c"]}, "seed": 3},
        ),
        (
            [
                "--extra-body.a",
                "1",
                *HEADLESS,
                "--extra-body.list+",
                "a",
                "--goodput",
                "ttft:1",
                "tpot:2",
                "--",
                "Nobody",
            ],
            {"extra_body": {"a": 1, "list": ["a"]}, "goodput": {"ttft": 1, "tpot": 2}},
        ),
        (
            [
                *HEADLESS,
                "-u",
                "3",
                "-t",
                "1m30s",
                "--stop-timeout",
                "7",
                "--host",
                "a.b",
                "--port",
                "81",
            ],
            {
                "max_concurrency": 3,
                "run_time_s": 90,
                "stop_timeout_s": 7,
                "base_url": "http://a.b:81",
            },
        ),
        (
            [*HEADLESS, "--num_prompts", "5", "--header", "Authorization=Bearer x y"],
            {"num_prompts": 5},
        ),
        (
            [*HEADLESS, "--custom-output-len", "-1", "--no-self-timed"],
            {"custom_output_len": -1, "self_timed": False},
        ),
    ],
)
def test_command_lines(command, argv, wanted):
    status, config, _, err = command(*argv)
    assert (status, err.count("Traceback")) == (0, 0)
    assert {name: config[name] for name in wanted} == wanted


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--request-rate", "nope"], "error: --request-rate: 'nope' is not a number"),
        (
            ["--goodput", "foo:1"],
            "error: --goodput: 'foo' is not an objective here; use ttft, tpot, e2el, as "
            "KEY:MILLISECONDS",
        ),
        (
            ["--dataset-name", "sharegpt"],
            "error: --dataset-path: --dataset-name sharegpt needs one; use a file that can be read",
        ),
        (
            ["--ramp-up-strategy", "cubic"],
            "error: --ramp-up-strategy: 'cubic' is not known; use one of linear, exponential",
        ),
        (["--extra-body.a", "--seed", "1"], "error: --extra-body.a: a value is missing"),
        (["--request-rate"], "locust: error: argument --request-rate: expected one argument"),
    ],
)
def test_a_bad_value_is_one_line_and_status_2(command, argv, line):
    status, config, _, err = command(*HEADLESS, *argv)
    assert (status, config) == (2, None)
    lines = [text for text in err.splitlines() if "/INFO/" not in text]
    assert [re.sub(r"^\S*__main__\.py: |^locust: ", "locust: ", text) for text in lines] == [line]


def test_environment(command):
    env = {
        "LLMBENCH_NUM_PROMPTS": "12",
        "LLMBENCH_SAVE_RESULT": "true",
        "LLMBENCH_HEADER": "'Authorization=Bearer x' a=b",
        "LLMBENCH_GOODPUT": "ttft:1 tpot:2",
        "LLMBENCH_EXTRA_BODY": '{"a": {"b": 1}}',
        "LLMBENCH_RAMP_UP_STRATEGY": "",
        "LLMBENCH_SEED": "4",
    }
    _, config, _, _ = command(*HEADLESS, "--seed", "5", env=env)
    assert config["header"] == {"Authorization": "Bearer x", "a": "b"}
    assert (config["num_prompts"], config["save_result"], config["seed"]) == (12, True, 5)
    assert (config["goodput"], config["extra_body"]) == ({"ttft": 1, "tpot": 2}, {"a": {"b": 1}})


def test_configuration_file(command):
    (command.folder / "c.conf").write_text(
        "num-prompts = 17\n"
        'extra-body = {"a": {"b": 2}}\n'
        "header = [a=b, c=d]\n"
        "goodput = ttft:5\n"
        "save-result = true\n"
        "self-timed = false\n"
    )
    _, config, _, _ = command(*HEADLESS, "--config", "c.conf")
    assert (config["num_prompts"], config["save_result"], config["self_timed"]) == (17, True, False)
    assert (config["header"], config["goodput"]) == ({"a": "b", "c": "d"}, {"ttft": 5})
    assert config["extra_body"] == {"a": {"b": 2}}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """What pip leaves of an installed package for gevent to find: our entry point."""
    folder = tmp_path_factory.mktemp("site")
    info = folder / "someone-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: someone\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[gevent.plugins.monkey.did_patch_all]\nours = llmbench_locust.options.help:on_patched\n"
    )
    return folder


def test_help_has_every_flag_with_its_default_in_groups(command, installed):
    status, _, out, _ = command("-f", "x.py", "--help", path=[installed])
    assert status == 0
    assert (
        out.count("llmbench: ")
        == len({line for line in out.splitlines() if line.startswith("llmbench: ")})
        > 10
    )
    # argparse breaks lines at hyphens too, so that blanks are of no account.
    entries = {
        re.match(r"--([a-z0-9-]+)", part)[1]: "".join(part.split())
        for part in re.split(r"\n  (?=--)", out)[1:]
    }
    for flag in FLAGS.values():
        assert flag.name in entries
        if flag.default is not None and flag.kind != "bool":
            assert "".join(f"Default: {show(flag.default)}.".split()) in entries[flag.name]
    assert all(name in entries["backend"] for name in backend_names())


def test_help_of_a_locustfile_that_is_not_ours_is_locusts_own(command, installed):
    _, _, out, _ = command("-f", "other.py", "--help", path=[installed])
    assert "--headless" in out
    assert "llmbench" not in out
