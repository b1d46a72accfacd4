"""Flags as a user gives them: to a real `locust` process, before and after -f, by environment and
configuration file.
"""

import re

import pytest

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
            "error: --goodput: 'foo' is not an objective here; use ttft, ttfo, tpot, e2el, as "
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
