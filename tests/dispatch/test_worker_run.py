"""A worker's run on a real gevent loop. Nothing listens at the port of its server."""

from locust.env import Environment

from llmbench_locust.dispatch import worker_run
from llmbench_locust.dispatch.messages import Go, Plan, Ready, Report, Tickets
from llmbench_locust.dispatch.tickets import Ticket
from llmbench_locust.users.session import servers_of
from llmbench_locust.users.wire import WireConfig
from llmbench_locust.workload.sample import SampleRequest
from tests.waiting import until


def test_the_last_outcomes_are_reported_at_once(monkeypatch):
    monkeypatch.setattr(worker_run, "REPORT_S", 3600.0)
    n = 2 * worker_run.REPORTED + 1
    wire = WireConfig("openai", ["http://127.0.0.1:1"], "/v1/completions", "m")
    told = []
    plan = Plan("r", None, 0, False, False, False, "", [wire])
    run = worker_run.WorkerRun(Environment(), plan, servers_of(wire), "", told.append)
    until(lambda: any(isinstance(message, Ready) for message in told))
    run.receive(Tickets("r", [Ticket(i, 0.0, SampleRequest("x", 1, 1)) for i in range(n)]))
    run.receive(Go("r", 0.0, float("inf")))
    until(lambda: sum(len(m.records or ()) for m in told if isinstance(m, Report)) == n)
    run.close()
