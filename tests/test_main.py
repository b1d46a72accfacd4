"""`python -m tests`: a test that failed gets one more try, alone."""

import re

import pytest

from tests import __main__ as suite

FAILS_ONCE = """
from pathlib import Path

def test_fails_once():
    seen = Path(__file__).with_suffix(".seen")
    first = not seen.exists()
    seen.touch()
    assert not first

def test_runs_once():
    Path(__file__).with_suffix(".run").mkdir()
"""
# One that dies once, one that is skipped when it runs again, one that then has another name.
FIRST = FAILS_ONCE.replace("    assert not first\n", "    if first: {}\n    {}\n")
DIES_ONCE = FIRST.format("__import__('os')._exit(1)", "")
SKIPPED_THEN = FIRST.format("assert 0", "__import__('pytest').skip()")
OF_A_PROCESS = """
import os, pathlib, pytest

@pytest.mark.parametrize("process", [os.getpid()])
def test_of_a_process(process):
    seen = pathlib.Path(__file__).with_suffix(".seen")
    assert seen.exists() or seen.touch()
"""
PASSED_AGAIN = ("failed at first, passed again", "test_fails_once")


@pytest.mark.parametrize(
    ("text", "status", "expected"),
    [
        (FAILS_ONCE, 0, [PASSED_AGAIN]),
        (f"{FAILS_ONCE}\ndef test_fails(): assert 0", 1, [PASSED_AGAIN, ("failed", "test_fails")]),
        ("import os\ndef test_dies(): os._exit(1)", 1, [("failed", "test_part.py")]),
        (DIES_ONCE, 1, [("failed", "test_part.py")]),
        (OF_A_PROCESS, 1, [("failed", "test_of_a_process")]),
        (SKIPPED_THEN, 1, [("failed", "test_fails_once")]),
        ("import no_such_module", 1, [("failed", "test_part.py")]),
    ],
)
def test_a_failed_test_runs_again_alone(text, status, expected, tmp_path, monkeypatch, capsys):
    part = tmp_path / "test_part.py"
    part.write_text(text)
    monkeypatch.setattr(suite, "parts", lambda: [str(part)])
    monkeypatch.setattr(suite, "ALONE", ())
    assert suite.main([]) == status
    last = capsys.readouterr().out.splitlines()[-len(expected) :]
    # pytest names a test by its path from a folder that depends on where it was started.
    said = [line.rsplit(": ", 1) for line in last]
    assert [(how, re.split("/|::", name)[-1].partition("[")[0]) for how, name in said] == expected


def test_what_runs_alone_gets_a_second_try_too(tmp_path, monkeypatch, capsys):
    part = tmp_path / "test_part.py"
    part.write_text(FAILS_ONCE)
    monkeypatch.setattr(suite, "parts", list)
    monkeypatch.setattr(suite, "ALONE", (str(part),))
    assert suite.main([]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("failed at first, passed again: ")


def test_with_x_nothing_passes_that_was_not_run(tmp_path, monkeypatch, capsys):
    part = tmp_path / "test_part.py"
    part.write_text(FAILS_ONCE)
    monkeypatch.setattr(suite, "parts", lambda: [str(part)])
    monkeypatch.setattr(suite, "ALONE", ())
    assert suite.main(["-x"]) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("failed: ")
