"""The table of commands: every row has its module, and a wrong name is one line with the
nearest.
"""

import importlib
import subprocess
import sys

import pytest

from llmbench_locust.cli import COMMANDS, main


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_module_with_a_main(command):
    assert callable(importlib.import_module(f"llmbench_locust.cli.{command}").main)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_describes_its_options(command, capsys):
    try:
        status = main([command, "--help"])
    except SystemExit as ended:  # argparse
        status = ended.code
    assert status == 0
    assert f"usage: llmbench {command}" in capsys.readouterr().out


def test_a_wrong_command_names_the_nearest(capsys):
    assert main(["simm"]) == 2
    assert "simm: no such command (did you mean sim?)" in capsys.readouterr().err


def test_without_a_command_it_lists_them(capsys):
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {name} " in shown for name in COMMANDS)


def test_it_runs_as_a_module_and_imports_neither_numpy_nor_locust():
    code = (
        "import sys; from llmbench_locust.cli import main; main(['--version']);"
        "sys.exit(len({'numpy', 'locust', 'gevent'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    as_module = [sys.executable, "-m", "llmbench_locust", "--version"]
    assert subprocess.run(as_module, capture_output=True, check=True).stdout.startswith(b"llmbench")
