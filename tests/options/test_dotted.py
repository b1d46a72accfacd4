"""JSON flags by dotted keys: rewritten before Locust parses anything, the rest of the command line
as it was.
"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench_locust.errors import ConfigError
from llmbench_locust.options.dotted import expand_dotted


def test_dotted_forms(config):
    argv = [
        "--extra-body.chat_template_kwargs.enable_thinking",
        "false",
        "--extra-body.list+",
        "a",
        "--extra-body.list+=b,3",
    ]
    assert config(*argv, "--seed", "4").extra_body == {
        "chat_template_kwargs": {"enable_thinking": False},
        "list": ["a", "b", 3],
    }
    assert config("--extra-body", '{"a": {"b": 1}}', "--extra-body.a.c", "x").extra_body == {
        "a": {"b": 1, "c": "x"}
    }


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--extra-body.a"], "--extra-body.a: a value is missing"),
        (["--extra-body"], "--extra-body: a value is missing"),
        (["--extra-body.a", "--seed"], "--extra-body.a: a value is missing"),
        (
            ["--extra-body.a", "1", "--extra-body.a.b", "2"],
            "--extra-body.a.b: a already has a value, so it cannot have keys",
        ),
        (
            ["--extra-body.a", "1", "--extra-body.a+", "2"],
            "--extra-body.a+: a is not a list, so nothing can be appended",
        ),
        (["--extra-body.a..b", "2"], "--extra-body.a..b: an empty key"),
        (["--extra-body.=2"], "--extra-body.: an empty key"),
        (
            ["--extra-body", "[1]", "--extra-body.a", "2"],
            "--extra-body: list is not an object",
        ),
    ],
)
def test_what_cannot_be_meant(argv, line):
    with pytest.raises(ConfigError) as caught:
        expand_dotted(argv)
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-1.5", -1.5),
        ("true", True),
        ("null", None),
        ("x y", "x y"),
        ("", ""),
        ("NaN", "NaN"),
        ('{"b": [1]}', {"b": [1]}),
    ],
)
def test_a_value_is_json_where_it_can_be(text, value):
    assert expand_dotted([f"--extra-body.a={text}"]) == ["--extra-body", json.dumps({"a": value})]
    assert expand_dotted(["--extra-body.a", text]) == ["--extra-body", json.dumps({"a": value})]


def test_objects_and_quoted_texts_are_one_item_of_a_list():
    argv = ["--extra-body.a+", '{"b": 1, "c": 2}', "--extra-body.a+=[1,2]", "--extra-body.a+=x,y"]
    assert json.loads(expand_dotted(argv)[1]) == {"a": [{"b": 1, "c": 2}, [1, 2], "x", "y"]}


def test_each_flag_stays_where_it_came_first_and_nothing_is_touched_after_two_dashes():
    argv = [
        "--extra-body.a",
        "1",
        "--seed",
        "2",
        "--chat-template-kwargs.x",
        "y",
        "--extra-body.b",
        "3",
        "--",
        "--extra-body.c",
        "4",
    ]
    assert expand_dotted(argv) == [
        *(
            "--extra-body",
            '{"a": 1, "b": 3}',
            "--seed",
            "2",
            "--chat-template-kwargs",
            '{"x": "y"}',
        ),
        *("--", "--extra-body.c", "4"),
    ]


def test_underscores_in_flags_of_ours_only():
    argv = [
        "--num_prompts",
        "5",
        "--request_rate=2",
        "--extra_body.a_b",
        "1",
        "--some_thing",
        "num_prompts",
    ]
    assert expand_dotted(argv) == [
        *(
            "--num-prompts",
            "5",
            "--request-rate=2",
            "--extra-body",
            '{"a_b": 1}',
            "--some_thing",
            "num_prompts",
        )
    ]


KEYS = st.text("abcxyz_-0", min_size=1, max_size=4)
VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=6)
TREES = st.dictionaries(
    KEYS,
    st.recursive(VALUES, lambda inner: st.dictionaries(KEYS, inner, min_size=1, max_size=3)),
    min_size=1,
)


def leaves(tree, path=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{path}.{key}")
        else:
            yield f"{path}.{key}", value


@given(TREES)
def test_any_object_can_be_said_by_its_leaves(tree):
    argv = [f"--extra-body{path}={json.dumps(value)}" for path, value in leaves(tree)]
    assert json.loads(expand_dotted(argv)[1]) == tree


@given(
    st.lists(
        st.sampled_from(["-f", "x.py", "--seed", "1", "--base-url=http://h.y", "--header", "a.b=c"])
    )
)
def test_other_arguments_are_left_alone(argv):
    assert expand_dotted(argv) == argv
