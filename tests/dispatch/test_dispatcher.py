"""The dispatcher on a real gevent loop, with requests that only wait."""

from time import perf_counter

import gevent
import pytest

from llmbench_locust.dispatch.clock_sync import ClockOffset, clock_identity
from llmbench_locust.dispatch.dispatcher import BEHIND, Dispatcher
from llmbench_locust.dispatch.lag import LagSampler
from llmbench_locust.dispatch.tickets import Ticket, from_message, to_message, weight
from llmbench_locust.transport.alarm import Alarm
from llmbench_locust.transport.gaps import Gaps
from llmbench_locust.workload.sample import SampleRequest
from tests.waiting import until


def stall(seconds):
    """The loop stands still."""
    until = perf_counter() + seconds
    while perf_counter() < until:
        pass


def ticket(index, due_s=0.0, **more):
    return Ticket(index, due_s, SampleRequest("hello", 1, 1, request_id=f"r{index}"), **more)


class Log:
    """Stands where requests are sent: each takes ``takes_s``."""

    def __init__(self, takes_s=0.0):
        self.takes_s = takes_s
        self.started, self.running, self.peak, self.users = [], 0, 0, []

    def __call__(self, ticket, due, user):
        self.started.append((ticket.index, perf_counter() - due))
        self.users.append(user)
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            gevent.sleep(self.takes_s)
        finally:
            self.running -= 1


@pytest.fixture
def make():
    made = []

    def build(log, **options):
        dispatcher = Dispatcher(log, **{"permits": None, **options})
        made.append(dispatcher)
        return dispatcher

    yield build
    for dispatcher in made:
        dispatcher.close()


def run(dispatcher, condition):
    dispatcher.lease(perf_counter() + 60)
    dispatcher.go(perf_counter())
    until(condition)


def test_each_is_started_once_in_the_order_of_its_due_time(make):
    log = Log()
    dispatcher = make(log)
    dispatcher.add([ticket(i, due_s=(9 - i) * 0.005) for i in range(10)])
    run(dispatcher, lambda: len(log.started) == 10)
    assert [i for i, _ in log.started] == list(range(9, -1, -1))
    assert all(late >= 0 for _, late in log.started)
    assert dispatcher.offered == 10
    assert list(dispatcher.sent) == list(range(9, -1, -1))


def test_a_ticket_that_the_master_held_back_is_late_only_from_when_a_permit_was_free(make):
    log = Log()
    dispatcher = make(log, permits=1)
    dispatcher.lease(perf_counter() + 60)
    dispatcher.go(perf_counter() - 3600)  # both are due since an hour
    dispatcher.add([ticket(0)])
    until(lambda: len(log.started) == 1 and not log.running)
    dispatcher.add([ticket(1)])
    until(lambda: len(log.started) == 2)
    assert all(0 <= late < 1800 for late in dispatcher.send_lag_s)


def test_the_time_without_a_lease_is_counted(make):
    dispatcher = make(Log())
    ended = perf_counter() + 0.1
    dispatcher.lease(ended)
    until(lambda: perf_counter() > ended)
    dispatcher.lease(ended)  # sent before it ended, received after
    gevent.sleep(0.05)
    dispatcher.lease(perf_counter() + 60)
    renewed = perf_counter()
    dispatcher.lease(perf_counter() + 90)
    assert 0.05 <= dispatcher.lapsed_s <= renewed - ended


def test_without_an_idle_user_a_request_is_sent_all_the_same(make):
    log = Log()
    dispatcher = make(log)
    user = object()
    gevent.spawn(dispatcher.attend, user)
    gevent.sleep(0)
    dispatcher.add([ticket(i) for i in range(3)])
    run(dispatcher, lambda: len(log.started) == 3)
    assert dispatcher.overflow == 2
    assert log.users.count(user) == 1


def test_a_user_that_was_killed_is_not_used_again(make):
    log = Log(0.01)
    dispatcher = make(log)
    stands = gevent.spawn(dispatcher.attend, "user")
    gevent.sleep(0)
    stands.kill()
    dispatcher.add([ticket(0)])
    run(dispatcher, lambda: log.started)
    assert log.users == [None]


def test_the_cap_holds_and_those_who_wait_keep_their_order(make):
    log = Log(0.01)
    dispatcher = make(log, permits=3)
    dispatcher.add([ticket(i) for i in range(20)])
    run(dispatcher, lambda: len(log.started) == 20)
    assert log.peak == 3
    assert [i for i, _ in log.started] == list(range(20))


def test_permits_come_and_go(make):
    log = Log(10)
    dispatcher = make(log, permits=0)
    dispatcher.add([ticket(i) for i in range(3)])
    run(dispatcher, lambda: dispatcher.waiting == 3)
    assert not log.started
    dispatcher.grant(2)
    until(lambda: len(log.started) == 2)
    assert dispatcher.give_back(5) == 0
    dispatcher.grant(3)
    until(lambda: len(log.started) == 3)
    assert dispatcher.give_back(5) == 2
    assert dispatcher.permits == 3


@pytest.mark.parametrize("permits", [None, 2])
def test_nothing_is_started_without_a_lease_and_a_new_one_starts_what_is_due(make, permits):
    log = Log()
    dispatcher = make(log, permits=permits)
    dispatcher.add([ticket(0), ticket(1)])
    dispatcher.lease(perf_counter() - 1)
    dispatcher.go(perf_counter())
    gevent.sleep(0.05)
    assert not log.started
    dispatcher.lease(perf_counter() + 60)
    until(lambda: len(log.started) == 2)


def test_a_new_lease_starts_what_waited_for_a_permit_when_the_old_one_ran_out(make):
    log = Log(1.2)
    dispatcher = make(log, permits=1)
    dispatcher.add([ticket(0), ticket(1)])
    dispatcher.go(perf_counter())
    dispatcher.lease(perf_counter() + 1)
    until(lambda: dispatcher.waiting and log.started and dispatcher.in_flight == 0)
    gevent.sleep(0.05)
    assert [i for i, _ in log.started] == [0]
    dispatcher.lease(perf_counter() + 60)
    until(lambda: len(log.started) == 2)


def test_halt_gives_back_what_was_not_sent_and_lets_the_rest_finish(make):
    log = Log(0.02)
    dispatcher = make(log, permits=1)
    dispatcher.add([ticket(0), ticket(1), ticket(2, due_s=60, following=[ticket(3)])])
    run(dispatcher, lambda: log.started and dispatcher.waiting)
    assert sorted(dispatcher.halt()) == [1, 2, 3]
    until(lambda: dispatcher.in_flight == 0)
    assert [i for i, _ in log.started] == [0]


def test_close_breaks_off_what_is_in_flight(make):
    log = Log(60)
    dispatcher = make(log)
    dispatcher.add([ticket(0)])
    run(dispatcher, lambda: log.running)
    dispatcher.close()
    assert log.running == 0


def test_greenlets_are_used_again_but_not_at_the_same_time(make):
    seen, started = [], []

    def perform(ticket, due, user):
        carrier = gevent.getcurrent()
        started.append(ticket.index)
        assert carrier not in seen
        seen.append(carrier)
        gevent.sleep(0.02)
        seen.remove(carrier)
        used.add(carrier)
        if ticket.index == 4:
            raise gevent.GreenletExit  # this one is lost

    used = set()
    dispatcher = make(perform)
    for n in (0, 3, 6):
        dispatcher.add([ticket(i) for i in range(n, n + 3)])
        run(dispatcher, lambda n=n: len(started) == n + 3 and not dispatcher.in_flight)
    assert sorted(started) == list(range(9))
    assert len(used) == 4
    assert dispatcher.close() == []
    assert all(carrier.dead for carrier in used)


def test_when_many_are_due_at_once_all_are_sent_and_work_takes_its_full_slices_meanwhile(make):
    gaps, behind = Gaps(), []

    def perform(ticket, due, user):
        behind.append(gaps.behind)
        stall(0.001)

    dispatcher = make(perform, gaps=gaps)
    dispatcher.add([ticket(i) for i in range(60)])
    run(dispatcher, lambda: len(behind) == 60)
    assert not any(behind[:BEHIND])
    assert behind[-1]
    until(lambda: not gaps.behind)


def test_work_makes_way_for_what_is_due_but_not_for_all_time():
    gaps = Gaps()
    assert gaps.until(5.0, 0.002) == 5.002
    gaps.next_s = 5.001
    assert gaps.until(5.0, 0.002) == 5.001
    gaps.next_s = 4.0
    assert 5.0 < gaps.until(5.0, 0.002) < 5.0005
    gaps.behind = True
    assert gaps.until(5.0, 0.002) == 5.002


def test_an_alarm_rings_after_its_time_and_once():
    rings = []
    alarm = Alarm(lambda: rings.append(perf_counter()))
    at = perf_counter() + 0.02
    alarm.set(at)
    until(lambda: rings)
    gevent.sleep(0.05)
    assert len(rings) == 1
    assert rings[0] >= at
    alarm.set(perf_counter() - 5)
    until(lambda: len(rings) == 2)
    alarm.set(perf_counter() + 0.01)
    alarm.close()
    gevent.sleep(0.03)
    assert len(rings) == 2


def test_lag_is_sampled_only_while_busy_and_a_stall_is_one_sample():
    busy = True
    sampler = LagSampler(lambda: busy)
    gevent.sleep(0.1)
    stall(0.2)
    gevent.sleep(0.1)
    sampled = sampler.take()
    busy = False
    gevent.sleep(0.1)
    sampler.take()
    gevent.sleep(0.1)
    idle = sampler.take()
    sampler.close()
    assert max(sampled) >= 0.17
    assert min(sampled) >= 0
    assert sum(lag >= 0.17 for lag in sampled) < 5, "and not one for each 20 ms of it"
    assert len(idle) == 0


class Preempted(LagSampler):
    """Others have the core for 30 ms after the first alarm has been read."""

    first = True

    def _ring(self):
        if self.first:
            self.first = False
            stall(0.03)
        super()._ring()


def test_a_stall_after_an_alarm_was_read_makes_no_later_lag_smaller():
    sampler = Preempted(lambda: True)
    gevent.sleep(0.15)
    sampled = sampler.take()
    stall(0.2)
    gevent.sleep(0.1)
    later = sampler.take()
    sampler.close()
    assert sampled[0] >= 0.03
    assert max(later) >= 0.17
    sampled.extend(later)
    assert min(sampled) >= 0


def test_a_ticket_survives_its_message():
    sample = SampleRequest([1, 2, 3], 3, 7, request_id="x", label="a", conversation=4, turn=0)
    given = Ticket(5, 1.25, sample, "lora", 0.5, 2.0, (ticket(6),))
    again = from_message(to_message(given))
    assert again == given
    assert again.count == 2
    assert weight(again) > weight(ticket(6))


def test_the_error_bound_holds_for_clocks_that_drift_apart():
    clock = ClockOffset()
    for at in range(3600):  # the first round trip is the shortest of an hour
        way = 0.0005 if at == 0 else 0.001
        there = (at + way) * (1 + 5e-5)
        clock.measured(at, there, at + 2.5 * way)  # the way back takes longer
        assert abs(at * 5e-5 - clock.offset_s) <= clock.error_s < 0.01


def test_the_clock_offset_is_that_of_the_shortest_round_trip():
    clock = ClockOffset()
    clock.measured(10.0, 110.5, 11.0)  # ± 0.5: middle 10.5, offset 100.0
    clock.measured(20.0, 120.2, 20.2)  # ± 0.1: middle 20.1, offset 100.1
    clock.measured(30.0, 131.0, 31.0)  # worse
    assert clock.offset_s == pytest.approx(100.1)
    assert clock.error_s == pytest.approx(0.1, rel=0.02)
    assert clock_identity() == clock_identity() != ""
