"""Which workers take part."""

import gevent
import pytest
from locust.env import Environment
from locust.rpc import Message
from locust.runners import WorkerNode

from llmbench_locust._version import __version__
from llmbench_locust.run import crew
from llmbench_locust.run.crew import HELLO, Crew


class Master:
    """Its one worker listens from the third message on."""

    def __init__(self, answers):
        self.answers, self.heard = answers, 0
        node = WorkerNode("w")
        self.clients = type("Clients", (), {"all": [node]})()

    def register_message(self, kind, listener):
        assert kind == HELLO
        self._listener = listener

    def send_message(self, kind, data, worker):
        self.heard += 1
        if self.answers and self.heard == 3:
            said = Message(HELLO, __version__, worker)
            gevent.spawn(self._listener, environment=None, msg=said)


@pytest.mark.parametrize(("answers", "found", "asked"), [(True, ["w"], 3), (False, [], 6)])
def test_a_worker_that_did_not_listen_yet_is_asked_again(answers, found, asked, monkeypatch):
    monkeypatch.setattr(crew, "APART_S", 0.01)
    master = Master(answers)
    known = Crew(Environment(), master, None)
    known.refuse_other_versions()
    assert (known.workers(), master.heard) == (found, asked)
    known.refuse_other_versions()
    assert master.heard == asked


def test_a_worker_of_another_version_is_named_once(capsys):
    known = Crew(Environment(), Master(False), None)
    for version in ("0.0", "0.0", __version__):
        known._on_hello(Environment(), Message(HELLO, version, "w"))
        assert known.workers() == (["w"] if version == __version__ else [])
    assert capsys.readouterr().err.count("worker w has llmbench-locust 0.0") == 1
