"""The search against queues whose capacity is known, and its edges."""

from dataclasses import replace

import numpy as np
import pytest

from llmbench_locust.arrivals import arrival_offsets
from llmbench_locust.experiments.answer import as_dict, outcomes_of, spent, text
from llmbench_locust.experiments.evidence import Goal, Outcome, evidence
from llmbench_locust.experiments.report import attainment_chart
from llmbench_locust.experiments.search import Settings, search
from llmbench_locust.statistics.crossing import Unit
from llmbench_locust.statistics.crowding import crowding, crowding_dispersion
from llmbench_locust.statistics.transients import completion_rate, grows, steady_window
from tests.experiments.queues import QUEUES

SEEDS = 20
REQUESTS = 10_000


def settings(share=0.95, **more):
    return Settings((Goal("ttft", share),), budget_s=None, budget_requests=REQUESTS, **more)


@pytest.mark.parametrize("queue", QUEUES, ids=lambda q: f"{q.places} places, {q.share}")
def test_the_interval_holds_the_truth_and_the_estimate_is_near(queue):
    answers = [search(queue.probe, settings(queue.share, seed=1000 * s)) for s in range(SEEDS)]
    assert all(sum(o.requests for o in a.probes) <= REQUESTS for a in answers)
    held = [(a.low or 0) <= queue.capacity <= (a.high or np.inf) for a in answers]
    near = [abs(a.load / queue.capacity - 1) <= 0.05 for a in answers]
    assert sum(held) >= 18
    assert sum(near) >= 17


def server(capacity, steepness=8.0, **more):
    """The share falls with the load as a logistic curve, to 95% at ``capacity``."""

    def probe(load, requests, seed):
        logit = np.log(0.95 / 0.05) - steepness * np.log(load / capacity)
        met = np.random.default_rng(seed).binomial(requests, 1 / (1 + np.exp(-logit)))
        unit = Unit(load, float(met), float(requests))
        known = {"latency_s": 0.1, "throughput": load, "seed": seed, **more}
        return Outcome(load, (unit,), requests, requests / load, **known)

    return probe


@pytest.mark.parametrize("capacity", [131.0, 148.0, 190.0, 233.0])
@pytest.mark.parametrize("odd", [0, 6, 7, 9])
def test_a_share_that_falls_at_one_load_leaves_the_gap_in_the_interval(capacity, odd):
    """``odd``: number of a probe that is out of order."""
    count = 0

    def probe(load, requests, seed):
        nonlocal count
        count += 1
        share = 0.7 if count == odd else float(load <= capacity)
        unit = Unit(load, float(round(share * requests)), float(requests))
        return Outcome(load, (unit,), requests, requests / load + 0.1, 0.1, load)

    answer = search(probe, settings(0.9, lowest=8.0))
    low, high = answer.low or 0, answer.high or np.inf
    assert low <= capacity <= high
    if not odd:
        met = max(o.load for o in answer.probes if o.units[0].value)
        missed = min(o.load for o in answer.probes if not o.units[0].value)
        assert low * 0.999 < met < missed < high * 1.001 < 1.1 * low


def test_a_server_that_is_saturated_carries_no_more_than_it_completes():
    rng = np.random.default_rng(2)
    due = np.cumsum(rng.exponential(1 / 150, 2000))
    ends = due + 0.1
    assert completion_rate(due, ends) == (pytest.approx(150, rel=0.1), False)
    late = 0.1 + np.arange(2000) / 100  # one each 10 ms
    assert completion_rate(due, np.maximum(ends, late)) == (pytest.approx(100, rel=0.01), True)
    assert completion_rate(due[:1], ends[:1]) == (pytest.approx(10), False)
    assert completion_rate(due, np.full(2000, np.nan)) == (0.0, False)
    due[7] = np.nan  # was never sent
    assert np.isfinite(completion_rate(due, ends)[0])


@pytest.mark.parametrize(
    ("rate", "latency_s", "seconds"), [(20, 10, 112), (8, 10, 30), (10, 60, 180)]
)
def test_a_server_that_still_fills_up_is_not_saturated(rate, latency_s, seconds):
    """Unlimited places, answers of very different lengths."""
    called = 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        due = np.sort(rng.uniform(0, seconds, rate * seconds))
        taken = latency_s * rng.lognormal(-0.32, 0.8, len(due))
        taken[0] = 0.01  # and one that ends at once
        called += completion_rate(due, due + taken)[1]
    assert called == 0


def test_a_short_probe_near_saturation_says_little_unless_it_missed():
    goal = Goal("ttft", 0.9)

    def counted(load, met, requests=1000):
        outcome = Outcome(load, (Unit(load, met, requests),), requests, 100.0, 0.1, load)
        return evidence(outcome, 0, goal, 100.0).weight

    assert counted(50.0, 1000.0) == 1000.0
    assert counted(97.0, 1000.0) < 100.0
    assert counted(97.0, 800.0) == 1000.0
    assert counted(97.0, 100_000.0, 100_000) == 100_000.0


@pytest.mark.parametrize(
    ("latency_s", "budget_s", "second"), [(0.02, 60.0, 8.0), (0.56, 50.0, 1.0)]
)
def test_a_minute_reaches_the_load_of_a_fast_server(latency_s, budget_s, second):
    """Doubling from one request in two seconds took longer."""
    short = replace(settings(), budget_s=budget_s, budget_requests=None)
    probe = server(131.0, latency_s=latency_s)
    answers = [search(probe, replace(short, seed=1000 * s)) for s in range(SEEDS)]
    assert {a.verdict for a in answers} == {"found"}
    assert {a.probes[1].load for a in answers} == {second}  # 8: a sixth of a request in flight
    assert sum((a.low or 0) <= 131 <= (a.high or np.inf) for a in answers) >= 18


@pytest.mark.parametrize("capacity", [0.7, 1.3, 5.0])
def test_a_load_that_was_taken_too_high_is_left_again(capacity):
    """An answer takes 10 ms, and the next probe is at 16 a second."""
    answer = search(server(capacity, latency_s=0.01), settings())
    assert (answer.low or 0) <= capacity <= answer.high
    assert abs(answer.load / capacity - 1) < 0.05


@pytest.mark.parametrize(
    ("capacity", "verdict", "words"),
    [(0.1, "below", "below 0.5 req/s"), (5000.0, "at least", "at least 400 req/s")],
)
def test_a_capacity_beyond_the_allowed_loads_is_an_answer(capacity, verdict, words):
    answer = search(server(capacity), settings(highest=400.0))
    assert (answer.verdict, answer.load) == (verdict, None)
    assert words in text(answer)


def test_users_of_a_closed_loop_are_whole():
    answer = search(server(23.5), settings(whole=True, lowest=1.0))
    assert all(x == int(x) for x in (answer.low, answer.load, answer.high))
    assert answer.low <= 23 <= answer.high
    assert answer.low <= answer.load <= answer.high


def test_a_limit_of_users_that_is_met_is_in_the_interval():
    for users in (3, 5, 8):

        def probe(load, requests, seed, users=users):
            unit = Unit(load, float(requests * (load <= users)), float(requests))
            return Outcome(load, (unit,), requests, 100.0, 0.1, load)

        answer = search(probe, settings(whole=True, lowest=1.0))
        assert (answer.low, answer.high) == (users, users + 1)


def test_a_spoilt_probe_is_repeated_once_and_does_not_count():
    seen = []

    def probe(load, requests, seed):
        outcome = server(20.0)(load, requests, seed)
        seen.append(seed)
        return replace(outcome, problem="late" if len(seen) == 9 else "")

    answer = search(probe, settings())
    assert answer.verdict == "found"
    assert len(answer.invalid) == 1
    assert len(set(seen)) == len(seen)


def test_probes_that_say_nothing_are_no_capacity():
    def probe(load, requests, seed):
        outcome = server(20.0)(load, requests, seed)
        return replace(outcome, units=(Unit(load, 0.0, 0.0),))

    answer = search(probe, settings(highest=8.0))
    assert (answer.verdict, answer.load) == ("unknown", None)


def test_a_client_that_is_the_limit_is_no_capacity():
    def probe(load, requests, seed):
        outcome = server(20.0)(load, requests, seed)
        late = {"problem": "CPU", "advice": "give it cores of its own"}
        return replace(outcome, **(late if load > 10 else {}))

    answer = search(probe, settings())
    assert (answer.verdict, answer.load) == ("client", None)
    assert text(answer).endswith(" req/s (CPU).\nWhat to do: give it cores of its own.")
    every = len(answer.probes) + len(answer.invalid)
    assert spent(answer, 61.0).startswith(f"{every} probes, ")
    assert f" 1 min 1 s. {len(answer.invalid)} of the probes did not count" in spent(answer, 61.0)


@pytest.mark.parametrize(
    ("missed", "where"),
    [((0.95, 1.2, 1.4), "near the capacity"), ((1.2, 1.4), "at {:.3g} req/s"), ((), "")],
)
def test_what_limits_is_told_by_a_load_that_misses_it(missed, where):
    answer = search(server(50.0), settings())
    probes = [
        replace(server(50.0)(answer.load * x, 100, 0), misses={"ttft": 0.25 * (x in missed)})
        for x in (0.6, 1.4, 1.2, 0.95)
    ]
    words = f": {where.format(1.2 * answer.load)} 25.0% of requests miss ttft" if where else ""
    assert text(replace(answer, probes=tuple(probes))).endswith(f"\n  limited by: ttft{words}")


def test_a_mean_is_bounded_as_well():
    def probe(load, requests, seed):
        value = (load / 30.0) ** 2 * np.exp(np.random.default_rng(seed).normal(0, 0.03))
        return Outcome(load, (Unit(load, value, requests),), requests, 1.0, 0.1, load)

    answer = search(probe, Settings((Goal("mean"),), budget_s=None, budget_requests=REQUESTS))
    assert answer.low <= 30.0 <= answer.high
    assert abs(answer.load / 30 - 1) < 0.05


def test_a_mean_that_limits_beside_a_share_is_what_the_page_draws_and_names():
    def probe(load, requests, seed):
        value = (load / 30.0) ** 2 * np.exp(np.random.default_rng(seed).normal(0, 0.03))
        units = (Unit(load, requests, requests), Unit(load, value, 1.0))
        return Outcome(load, units, requests, 1.0, 0.1, load, misses={"ttft": load / 1000})

    goals = (Goal("ttft ≤ 9 s", 0.9), Goal("mean_ttft_ms <= 25"))
    answer = search(probe, Settings(goals, budget_s=None, budget_requests=REQUESTS))
    document = as_dict(answer)
    assert text(answer).endswith("\n  limited by: mean_ttft_ms <= 25")
    chart = attainment_chart(document)
    assert chart["layout"]["yaxis"]["title"]["text"] == "mean_ttft_ms &lt;= 25: mean ÷ limit"
    assert chart["layout"]["shapes"][0]["y0"] == 1.0
    assert chart["data"][0]["y"] == [p["share"] for p in document["probes"]]


def test_a_search_goes_on_from_its_file():
    whole = search(server(20.0), settings())
    probes = iter(whole.probes[:6])

    def first(load, requests, seed):
        return next(probes)

    part = search(first, settings())
    assert len(part.probes) == 6
    document = as_dict(part)
    done = outcomes_of(document)
    assert tuple(done) == part.probes
    for probe in document["probes"]:  # of a version that did not know it
        del probe["saturated"]
    assert tuple(outcomes_of(document)) == part.probes
    assert search(server(20.0), settings(), done).probes[:6] == part.probes


def test_a_queue_that_grows_is_seen_and_a_steady_one_is_not():
    rng = np.random.default_rng(1)
    steady = [grows(20 + rng.normal(0, 3, 80), 0.5, 40.0) for _ in range(200)]
    assert sum(steady) == 0
    over = 20 + 0.1 * 40.0 * np.arange(80) * 0.5 + rng.normal(0, 3, 80)
    assert grows(over, 0.5, 40.0)
    assert not grows(over[:10], 0.5, 40.0)


def test_a_steady_queue_raises_no_alarm_however_often_it_is_asked():
    queue, alarms = QUEUES[1], 0
    for seed in range(40):
        due = arrival_offsets(300, request_rate=queue.capacity, seed=seed)
        ends = np.sort(due + queue.waits(due) + queue.hold)
        times = np.arange(0.5, due[-1], 0.5)
        flying = (np.searchsorted(due, times) - np.searchsorted(ends, times)).astype(float)
        asked = range(6, len(times))
        alarms += any(grows(flying[:i], 0.5, queue.capacity) for i in asked)
    assert alarms <= 2


@pytest.mark.parametrize("shape", [1.0, 0.5, 4.0])
def test_crowding_is_none_on_average_and_follows_the_arrivals(shape):
    rng = np.random.default_rng(3)
    found = []
    for _ in range(400):
        due = np.cumsum(rng.gamma(shape, 1 / (10.0 * shape), 1000))
        found.append(crowding(due, np.ones(1000, bool), (10.0, shape), 1.3, 0.9))
    assert abs(np.mean(found)) < 4 * np.std(found) / np.sqrt(400)
    due = np.arange(1000) / 10.0
    assert crowding(due, np.ones(1000, bool), (10.0, 1.0), 1.3, 0.9) == pytest.approx(-0.1)
    assert crowding(due[:5], np.ones(5, bool), (10.0, 1.0), 1.3, 0.9) == 0.0


def test_the_steady_window_leaves_out_filling_and_draining():
    start = np.arange(0.0, 100.0)
    rows = steady_window(start, start + 5.0)
    assert (start[rows].min(), start[rows].max()) == (15.0, 94.0)
    assert steady_window(np.array([0.0, 9.0]), np.array([1.0, 10.0])).all()
    assert not len(steady_window(np.empty(0), np.empty(0)))


@pytest.mark.parametrize(("in_flight", "share"), [(4.0, 0.8), (20.0, 0.95)])
def test_the_dispersion_of_the_crowding_is_that_of_poisson_arrivals(in_flight, share):
    rng, n = np.random.default_rng(5), 4000
    found = [
        crowding(np.cumsum(rng.exponential(1.0, n)), np.ones(n, bool), (1.0, 1.0), in_flight, share)
        for _ in range(300)
    ]
    ratio = n * np.mean(np.square(found)) / (share * (1 - share))
    assert ratio == pytest.approx(crowding_dispersion(in_flight, share), rel=0.3)
