"""The services of docker-compose.yml, each command run as a real process: simulator, master with
its web page, two workers.
"""

import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
import requests
import yaml

from tests.commands import ROOT, environment, free_port, result, wait_for

pytestmark = pytest.mark.cluster

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def filled(text, values):
    """``${NAME:-default}`` as compose fills it in."""
    return re.sub(r"\$\{(\w+)(?::-([^}]*))?\}", lambda m: values.get(m[1]) or m[2] or "", str(text))


def spawn(service, values, ports):
    """A service's command on this machine: names of hosts and paths of the image become those here,
    ports free ones.
    """
    definition = COMPOSE["services"][service]
    words = filled(definition["command"], values).split()
    here = {
        "/app/locustfiles/serve.py": str(ROOT / "locustfiles/serve.py"),
        "0.0.0.0": "127.0.0.1",
        "master": "127.0.0.1",
    }
    words = [here.get(w, str(ports["sim"]) if w == "8000" else w) for w in words]
    program = ["-m", "llmbench_locust"] if words[0] == "llmbench" else ["-m", "locust"]
    more = {
        "simulator": ["--api-key", values["OPENAI_API_KEY"]],
        "master": ["--web-port", str(ports["web"]), "--master-bind-port", str(ports["master"])],
        "worker": ["--master-port", str(ports["master"])],
    }
    env = {k: filled(v, values) for k, v in (definition.get("environment") or {}).items()}
    return subprocess.Popen(
        [sys.executable, *program, *words[1:], *more.get(service, [])],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(**env),
        start_new_session=True,
    )


def answers(url):
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False


def test_every_service_runs_and_a_benchmark_goes_through(tmp_path):
    ports = {name: free_port() for name in ("sim", "web", "master")}
    values = {
        "EXPECT_WORKERS": "2",
        "LLMBENCH_BASE_URL": f"http://127.0.0.1:{ports['sim']}",
        "LLMBENCH_NUM_PROMPTS": "60",
        "LLMBENCH_REQUEST_RATE": "60",
        "OPENAI_API_KEY": "master-and-workers-need-it",
    }
    started = [spawn("simulator", values, ports)]
    COMPOSE["services"]["master"]["environment"]["LLMBENCH_RESULT_DIR"] = str(tmp_path)
    try:
        wait_for(lambda: answers(f"http://127.0.0.1:{ports['sim']}/health"))
        started.append(spawn("master", values, ports))
        page = f"http://127.0.0.1:{ports['web']}"
        wait_for(lambda: answers(page))
        started += [spawn("worker", values, ports) for _ in range(2)]
        wait_for(
            lambda: requests.get(f"{page}/stats/requests", timeout=60).json().get("workers") or None
        )
        wait_for(
            lambda: len(requests.get(f"{page}/stats/requests", timeout=60).json()["workers"]) == 2
        )
        answer = requests.post(f"{page}/swarm", data={}, timeout=60).json()
        assert answer["success"], answer
        wait_for(lambda: list(tmp_path.glob("*.json")))
    finally:
        outputs = []
        for process in reversed(started):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            outputs.append(process.communicate()[0])
    found = result(tmp_path)
    assert (found["completed"], found["failed"]) == (60, 0), outputs
    assert len(found["llmbench"]["workers"]) == 2


def test_compose_accepts_the_file():
    if (
        shutil.which("docker") is None
        or subprocess.run(
            ["docker", "compose", "version"], capture_output=True, check=False
        ).returncode
    ):
        services = COMPOSE["services"]
        assert set(services) == {"simulator", "master", "worker", "vllm", "vllm-cpu"}
        assert services["vllm"]["profiles"] == ["vllm"]
        return
    done = subprocess.run(
        ["docker", "compose", "config", "-q"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
