"""By command: every public user class in a locustfile of one's own, and a backend of one's own that
breaks on some samples.
"""

import json

from llmbench_locust import _USERS
from tests.commands import SMALL, locust, result

EVERY_CLASS = """
import json

import gevent
import llmbench_locust
from llmbench_locust import SampleRequest
from locust import events, task

SAMPLES = {
    "vllm-rerank": lambda: SampleRequest(["query", "a", "b"], 3, 0),
    "openai-audio": lambda: SampleRequest(
        "", 1, 6, multi_modal={"audio": b"RIFF", "filename": "a.wav", "duration_s": 0.5}
    ),
}
wanted = []


@events.init.add_listener
def listen(environment, **_):
    @environment.events.llm_request.add_listener
    def on_request(record, user, **_):
        fields = [user.backend, record.success, record.error, record.output_len,
        len(record.token_times), record.audio_s]
        print("RECORD", json.dumps([type(user).__name__, *fields]), flush=True)
        wanted.remove(type(user).__name__)
        if not wanted:
            gevent.spawn(environment.runner.quit)  # not in the greenlet of a user, which it stops


def once(self):
    make = SAMPLES.get(self.backend, lambda: SampleRequest("one two three", 3, 6))
    self.send(make())
    self.environment.runner.greenlet.join()


for name in llmbench_locust._USERS:
    if name != "BackendUser":
        wanted.append("My" + name)
        globals()["My" + name] = type("My" + name, (getattr(llmbench_locust, name),),
        {"once": task(once), "fixed_count": 1})
"""


def test_every_public_class(tmp_path):
    (tmp_path / "every.py").write_text(EVERY_CLASS)
    run = locust("--sim", "-u", "30", "-r", "100", "-t", "20s", locustfile=tmp_path / "every.py")
    rows = [
        json.loads(line.split(" ", 1)[1])
        for line in run.stdout.splitlines()
        if line.startswith("RECORD")
    ]
    seen = {name: rest for name, *rest in rows}
    assert set(seen) == {"My" + name for name in _USERS if name != "BackendUser"}, (
        run.stdout + run.stderr
    )
    for name, (backend, success, error, output_len, events, audio_s) in seen.items():
        assert success, (name, error)
        pooling = "embeddings" in backend or backend in ("vllm-pooling", "vllm-rerank")
        assert (output_len, events) == (
            (0, 0) if pooling else (-1 if backend == "tensorrt-llm" else 6, 6)
        ), name
        assert audio_s == (0.5 if backend == "openai-audio" else 0.0)
    assert run.returncode == 0, run.stderr


OWN = """
from llmbench_locust import ArrivalShape, BackendUser
from llmbench_locust.backends import BackendInfo
from llmbench_locust.users.protocols import register_protocol
from llmbench_locust.users.protocols.openai import Completions
from locust import constant, task


@register_protocol
class Own(Completions):
    info = BackendInfo("own", "/v1/completions", ("completions",), sampling=("temperature",))

    def body(self, sample, model):
        if sample.request_id.endswith("3"):
            raise KeyError("three")
        return super().body(sample, model)


class OwnUser(BackendUser):
    wait_time = constant(0)

    @task
    def requests(self):
        self.serve()


class Arrivals(ArrivalShape):
    pass
"""


def test_a_backend_of_ones_own_that_raises_costs_its_own_requests_only(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    arguments = [
        "--sim",
        "--backend",
        "own",
        "--num-prompts",
        20,
        "--save-result",
        "--result-dir",
        tmp_path,
        *SMALL,
    ]
    run = locust(*arguments, locustfile=tmp_path / "own.py")
    assert run.returncode == 1, run.stderr
    found = result(tmp_path)
    # Requests 3 and 13.
    assert (found["completed"], found["failed"]) == (18, 2)
    assert "KeyError: 'three'" in run.stdout
