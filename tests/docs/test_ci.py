"""The jobs of docs/ci.md: their shell steps run as they stand, with a wheel of this package."""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.commands import environment, free_port

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "ci.md").read_text(), re.S)
GITHUB, GITLAB = map(yaml.safe_load, BLOCKS)


def github_steps():
    steps = GITHUB["jobs"]["compare"]["steps"]
    assert all(("uses" in step) != ("run" in step) for step in steps)
    return [step["run"] for step in steps if "run" in step]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The directory with the `llmbench` of the wheel; dependencies are those of this process."""
    base = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(base), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = base.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "-t", str(base / "site"), wheel], check=True)
    return base / "site"


def words(script):
    return shlex.split(script.replace("\\\n", " "))


def test_both_jobs_do_the_same():
    """So that it is enough to run one of them."""
    ours, theirs = github_steps(), GITLAB["benchmark"]["script"]
    github = words("\n".join(ours).replace("--repeat 5", "").replace("--markdown comment.md", ""))
    assert github == words("\n".join(theirs))
    assert set(GITLAB["benchmark"]["artifacts"]["paths"]) == {"ab", "verdict.json",
                                                              "comparison.html"}  # fmt: skip


def test_the_steps_of_the_job_run_in_an_empty_directory(installed, tmp_path):
    """Other ports, as these may be taken here, and fewer requests; --force, as CI is busy here."""
    steps = github_steps()
    assert steps[0] == "pip install llmbench-locust"
    script = "\n".join(steps[1:])
    for port in ("8001", "8002"):
        script = script.replace(port, str(free_port()))
    script = script.replace("--num-prompts 200", "--num-prompts 20 --force")
    script = script.replace("--repeat 5", "--repeat 2")
    env = environment(
        PYTHONPATH=str(installed),
        PATH=f"{installed / 'bin'}:{os.environ['PATH']}",
        GITHUB_STEP_SUMMARY=str(tmp_path / "summary.md"),
    )
    process = subprocess.Popen(
        ["bash", "-e", "-c", script],
        cwd=tmp_path,
        env=env,
        stdout=(tmp_path / "out").open("w"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        status = process.wait(timeout=250)
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # both simulators
    shown = (tmp_path / "out").read_text()
    assert status in (0, 3), shown  # 3: noise of a busy machine
    assert "--fail-on p10_ttft_ms>+4%" in shown
    made = {path.name for path in tmp_path.iterdir()}
    assert made >= {"ab", "verdict.json", "comparison.html", "comment.md", "summary.md"}
