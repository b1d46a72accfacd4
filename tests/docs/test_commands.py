"""Commands in README and docs: each `llmbench serve` is understood, and those against the simulator
run as they stand.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from llmbench_locust.cli import main
from tests.cli.test_command_line import config_of
from tests.commands import environment, free_port

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(names="serve"):
    """Every `llmbench serve …` of an indented block, its continuation lines joined."""
    for page in PAGES:
        text = re.sub(r"\\\n\s+", "", page.read_text())
        for line in re.findall(rf"^ {{4,}}.*?(llmbench (?:{names}) [^\n]*)$", text, re.M):
            if not any(part in line for part in ("…", "$", "--preset list")):
                yield pytest.param(line.partition(" #")[0].strip(), id=f"{page.name}: {line[:60]}")


SERVE = list(commands())


@pytest.mark.parametrize("line", SERVE)
def test_every_serve_command_is_understood(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line)[2:]
    for i, word in enumerate(words):
        if word in ("--dataset-path", "--structured-output", "--resume"):
            (tmp_path / words[i + 1]).write_text("[]")
    words = words[: words.index("&&")] if "&&" in words else words
    if "--processes" in words:
        at = words.index("--processes")
        del words[at : at + 2]
    assert config_of(shlex.join(words)).num_prompts > 0


@pytest.mark.parametrize(
    "line", [p for p in SERVE if "--sim" in p.values[0] and "30" in p.values[0]]
)
def test_a_command_against_the_simulator_runs(line, tmp_path):
    argv = [sys.executable, "-m", "llmbench_locust", *shlex.split(line)[1:]]
    if "--processes" in argv:  # the usual port may be taken here
        port = str(free_port())
        argv += ["--master-bind-port", port, "--master-port", port]
    done = subprocess.run(
        argv,
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Result: " in done.stdout


@pytest.mark.parametrize("line", commands("compare|report"))
def test_every_command_about_results_is_understood(line, tmp_path, monkeypatch, capsys):
    """The files that it names are not there, and that is all it has to say."""
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(line.replace("[options] ", ""))[1:]) == 2
    assert capsys.readouterr().err.endswith("No such file or directory\n")


def test_there_are_commands_to_test():
    assert len(SERVE) >= 6


def test_the_manifests_run_commands_that_are_understood_and_keep_their_results():
    documents = [
        document
        for name in ("kubernetes.yaml", "kubernetes-results.yaml")
        for document in yaml.safe_load_all((ROOT / "docs" / name).read_text())
    ]
    kinds = [document["kind"] for document in documents]
    assert kinds == ["PersistentVolumeClaim", "ConfigMap", "Service", "Job", "Job", "Pod"]
    claim, flags, _, master, worker, reader = documents
    for job in (master, worker):
        container = job["spec"]["template"]["spec"]["containers"][0]
        config_of(shlex.join(container["command"][2:]))
        secrets = {variable["name"] for variable in container["env"]}
        assert secrets == {"OPENAI_API_KEY", "LLMBENCH_HEADER"}
    for pod in (master["spec"]["template"]["spec"], reader["spec"]):
        (volume,) = pod["volumes"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    for name, value in flags["data"].items():
        flag = name.removeprefix("LLMBENCH_").lower().replace("_", "-")
        config_of(f"--{flag}" if value == "true" else f"--{flag} {value}")
