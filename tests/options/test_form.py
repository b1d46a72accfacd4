"""The web form: what Locust shows of our flags, and what comes back when it is sent unchanged or
edited.
"""

import json
from argparse import Namespace

import pytest
from flask import Flask
from locust.argument_parser import LocustArgumentParser

from llmbench_locust.errors import ConfigError
from llmbench_locust.options.config import build_config
from llmbench_locust.options.flags import add_flags
from llmbench_locust.options.table import FLAGS


def sent_back(options, **edits):
    """The namespace after the form was sent, with Locust's own rule: a value keeps the type that it
    had.
    """
    after = vars(Namespace(**vars(options)))
    for key in FLAGS:
        shown = after[key]
        text = edits.get(key, "true" if shown is True else "" if shown is None else str(shown))
        after[key] = (
            text == "true"
            if isinstance(shown, bool)
            else text
            if shown is None
            else type(shown)(text)
        )
    return Namespace(**after)


def test_an_unchanged_form_means_the_same(parse):
    argv = [
        "--header",
        "Authorization=Bearer x, y",
        "accept=a b",
        "--goodput",
        "ttft:1",
        "tpot:2",
        "--metadata",
        "note=it's",
    ]
    argv += [
        "--extra-body.a",
        "1",
        "--ignore-eos",
        "--lora-modules",
        "a",
        "b",
        "--request-id-prefix",
        "p-",
        "--no-self-timed",
    ]
    options = parse(*argv)
    config = build_config(options)
    assert build_config(sent_back(options)) == config
    assert config.header == {"Authorization": "Bearer x, y", "accept": "a b"}
    assert config.metadata == {"note": "it's"}
    edited = build_config(
        sent_back(options, num_prompts="7", goodput="e2el:9", max_concurrency="3", lora_modules="")
    )
    assert (edited.num_prompts, edited.goodput, edited.max_concurrency, edited.lora_modules) == (
        7,
        {"e2el": 9.0},
        3,
        (),
    )


def test_secrets_do_not_reach_the_form(parse):
    options = parse("--header", "Authorization=Bearer s3cret", "a=s3cret", "b: s3cret")
    assert "s3cret" not in json.dumps({name: getattr(options, name) for name in FLAGS})


def test_a_masked_value_is_the_one_given_at_the_start(parse):
    options = parse("--header", "Authorization=Bearer s3cret", "a=s3cret")
    assert options.header == "'Authorization=***' 'a=***'"
    assert build_config(sent_back(options, header="a=***")).header == {"a": "s3cret"}
    assert build_config(sent_back(options, header="a=new b=***")).header == {"a": "new", "b": "***"}
    assert build_config(sent_back(options, header="")).header == {}
    with pytest.raises(ConfigError, match="--header: 'a' is given twice"):
        build_config(parse("--header", "a=1", "a=2"))


def test_a_bad_value_gets_the_line_of_the_command_line(parse):
    with pytest.raises(ConfigError, match=r"^--request-rate: 'nope' is not a number$"):
        build_config(sent_back(parse(), request_rate="nope"))


def test_choices_are_drop_downs_and_can_be_left_alone():
    parser = LocustArgumentParser()
    add_flags(parser)
    shown = parser.args_included_in_web_ui
    assert shown["lora_assignment"].choices == ["random", "round-robin", "session"]
    assert shown["ramp_up_strategy"].choices == ["", "linear", "exponential"]
    assert shown["self_timed"].choices == ["", "true", "false"]
    assert "openai-chat" in shown["backend"].choices
    assert set(FLAGS) <= set(shown)
    assert [a.dest for a in parser.secret_args_included_in_web_ui.values()] == ["header"]
    with Flask("x").app_context():
        from flask.json import dumps

        assert json.loads(dumps(shown["dataset_name"].choices))[0] == "sharegpt"
    assert all(action.help for name, action in shown.items() if name in FLAGS)
