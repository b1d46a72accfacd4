"""Messages of errors are shown to people, in files and on pages: without secrets, in one line,
harmless to a terminal.
"""

import pytest

from llmbench_locust.metrics.extended import MOST_KINDS, errors_by_kind
from llmbench_locust.redact import redacted

from .rows import columns, failed


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Incorrect API key provided: sk-proj-abcdefghijklmnop", "abcdefghijklmnop"),
        ("header Authorization: Bearer eyJhbGciOi.J9.abc rejected", "eyJhbGciOi"),
        ("401 for http://user:hunter22@host:8000/v1", "hunter22"),
        ('{"api_key": "0123456789abcdef", "model": "m"}', "0123456789abcdef"),
        ("token hf_AbCdEfGhIjKlMnOp is not valid", "AbCdEfGhIjKl"),
        ("password=correcthorse and so on", "correcthorse"),
    ],
)
def test_secrets_do_not_show(text, secret):
    shown = redacted(text)
    assert secret not in shown
    assert "***" in shown


@pytest.mark.parametrize(
    "text",
    ["max_tokens is too large: 9000 > 4096", "the model `sky-1` does not exist", "Token limit: 5"],
)
def test_the_rest_does(text):
    assert redacted(text) == text


def test_one_short_line_without_control_characters():
    shown = redacted("a\r\n  b\x1b[31mred\x07 " + "x" * 1000)
    assert shown.startswith("a b [31mred xxx")
    assert "\x1b" not in shown
    assert len(shown) == 500


def test_a_server_that_makes_up_kinds_does_not_fill_the_memory():
    found = errors_by_kind(columns(*(failed(i, kind=f"http_{i}") for i in range(200))))
    assert len(found) == MOST_KINDS + 1
    assert found["other"]["count"] == 200 - MOST_KINDS
