"""Shares of valid responses."""

import pytest

from llmbench_locust.metrics.facts import AnswerKey
from tests.metrics.rows import columns, failed, row
from tests.results.runs import config
from tests.results.runs import figures as derived

OBJECT = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}


def figures(texts, check, key=None, *, flag="check_answers", figure="answers"):
    rows = [row(i, i * 10.0, text=text) for i, text in enumerate(texts)]
    rows.append(failed(len(texts), 100.0))
    done = derived(columns(*rows), given=config(**{flag: check}), answers=key or AnswerKey())
    return done.block[figure]


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        ("nonempty", ["a", "."], ["", " \n"]),
        ("json", ['{"a": 1}', " [1]", "null"], ["", "{", "{'a': 1}", '{"a": 1} ok']),
        ("json_schema", ['{"a": 1}'], ['{"a": "x"}', "{}", "1", "{"]),
        ("tool_call", ['f{"a": 1}', 'Now: get.x{}', "f{}g{}"], ["f", "f{", '{"a": 1}', "f{} and"]),
        ("regex:^a.c$", ["abc", "a\nc"], ["abcd"]),
        ("exact:answer", ["42", " 42\n"], ["42.", ""]),
    ],
)  # fmt: skip
def test_what_is_valid(check, good, bad):
    n = len(good) + len(bad)
    key = AnswerKey(["42"] * n, schema=OBJECT, asked=[True] * n)
    found = figures([*good, *bad], check, key)
    assert (found["checked"], found["valid"]) == (n, len(good))
    low, high = found["interval"]
    assert 0 <= low < found["share"] < high <= 1
    assert found["first_wrong"]["text"] == bad[0][:200]


def test_only_responses_with_a_reference_are_judged():
    found = figures(["1", "2", "3"], "exact:answer", AnswerKey(["1", None, "x"]))
    assert (found["checked"], found["valid"]) == (2, 1)
    key = AnswerKey(schema=OBJECT, asked=[False, True, False, False])
    assert figures(["{}", "{}", "{}"], "json_schema", key)["checked"] == 1


def test_by_label_and_by_load():
    rows = [row(i, 0.0, text="x" if i < 3 else "", label="ab"[i % 2]) for i in range(4)]
    rows.append(row(4, 50.0, text="x", label="a"))
    given = config(check_answers="nonempty")
    block = derived(columns(*rows), given=given).block["answers"]
    assert {k: (v["valid"], v["checked"]) for k, v in block["by_label"].items()} == {
        "a": (3, 3),
        "b": (1, 2),
    }
    loads = {k: (v["valid"], v["checked"]) for k, v in block["by_requests_in_flight"].items()}
    assert loads == {"1": (1, 1), "4": (3, 4)}


def test_wilsons_interval():
    found = figures(["x"] * 10, "nonempty")
    # (k + z²/2 ± z √(k(n-k)/n + z²/4)) / (n + z²) for k = n = 10: low = 10 / (10 + 1.96²).
    assert found["interval"][0] == pytest.approx(10 / (10 + 1.959964**2), abs=1e-6)


def test_responses_of_two_servers():
    key = AnswerKey(others=["a", None, "c", "d"])
    flags = {"flag": "expect_same_as", "figure": "same_answers"}
    found = figures(["a", "b", "C"], "other.json", key, **flags)
    assert (found["checked"], found["valid"]) == (2, 1)
    assert found["first_wrong"] == {"request_id": "r2", "text": "C"}
