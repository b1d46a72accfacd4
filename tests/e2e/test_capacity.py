"""A search for the capacity as a user starts it: probes, the files that it leaves, going on."""

import json
import re
import resource
import signal

import psutil
import pytest
import requests

from llmbench_locust.experiments.answer import as_dict, outcomes_of
from llmbench_locust.experiments.evidence import Goal, Outcome
from llmbench_locust.experiments.search import Answer, Settings
from llmbench_locust.simulator.launch import launch
from llmbench_locust.statistics.crossing import Unit
from tests.commands import ROOT, SMALL, finish, free_port, locust, start, wait_for

CHATS = ("--goodput", "ttft:9", "--backend", "openai-chat", "--multi-turn")
LOADS = ("--capacity", "--min", "10", "--max", "80", "--probe-time", "1")


@pytest.fixture(scope="module")
def sim():
    with launch(["--clock", "fixed", "--ttft-ms", "20", "--itl-ms", "2"]) as running:
        yield running.url


def search(sim, *argv):
    return locust("--base-url", sim, *LOADS, *SMALL, *argv)


def found(directory):
    """What a search left: the document, and its probes by their numbers."""
    assert (directory / "report.html").exists()
    document = json.loads((directory / "capacity.json").read_text())
    probes = {path.name.partition("-")[0] for path in (directory / "probes").iterdir()}
    return document, sorted(probes)


def test_a_lost_worker_costs_its_probe_and_a_search_goes_on_after_ctrl_c(sim, tmp_path):
    goal = ("--goodput", "e2el:60000")
    # The first probe lasts a second: the worker is lost in it.
    words = (*LOADS, "--probe-time", 4, *SMALL, *goal, "--processes", 2, "--result-dir", tmp_path)
    process = start("--base-url", sim, *words)
    try:
        _in_probe(sim, tmp_path, 0)
        psutil.Process(process.pid).children()[0].kill()
        _in_probe(sim, tmp_path, 2)
        process.send_signal(signal.SIGINT)
    finally:
        output = finish(process)
    assert "Traceback" not in output
    assert "Capacity:" in output
    (directory,) = tmp_path.iterdir()
    document, probes = found(directory)
    assert [goal["name"] for goal in document["goals"]] == ["e2el ≤ 60000 ms"]
    assert probes == [f"{n:02d}" for n in range(1, len(probes) + 1)]
    lost = [p for p in document["probes"] if "workers lost" in p["problem"]]
    assert len(lost) == 1
    for row in document["probes"]:
        probe = json.loads((directory / row["file"]).read_text())
        assert row in lost or (probe["completed"], probe["failed"]) == (probe["num_prompts"], 0)
        assert probe["request_rate"] == probe["capacity_probe"]["load"]

    spent = sum(row["requests"] for row in document["probes"])
    for other in (("--search", "max-concurrency"), ("--attainment", 0.5)):
        done = search(sim, *goal, *other, "--resume", directory)
        assert (done.returncode, "is from another search" in done.stderr) == (2, True)
    done = search(sim, *goal, "--budget", f"{spent + 20}req", "--resume", directory)
    # Whether the client was the limit depends on this machine.
    assert done.returncode in (0, 1, 4), done.stderr
    _, more = found(directory)
    assert more[: len(probes)] == probes
    assert len(more) > len(probes)
    minutes, rest = re.search(r"requests, (?:(\d+) min )?(\d+) s", done.stdout).groups()
    assert 60 * int(minutes or 0) + int(rest) > sum(row["seconds"] for row in document["probes"])


def _in_probe(sim, directory, number):
    """Wait until ``number`` probes are done and the next one is being sent."""
    wait_for(lambda: len(list(directory.glob("*/probes/*"))) >= number)
    before = _received(sim)
    wait_for(lambda: _received(sim) > before + 3)


def _received(sim):
    return requests.get(f"{sim}/sim/stats?requests=0", timeout=60).json()["received"]


@pytest.mark.parametrize("others", [0, 1])
def test_a_server_that_goes_away_ends_the_search(others, sim, tmp_path):
    """Its refusals are no answers to a load; nor are those of one of several."""
    with launch(["--clock", "fixed", "--ttft-ms", "20", "--itl-ms", "2"]) as own:
        words = (*LOADS, *SMALL, "--goodput", "e2el:60000", "--result-dir", tmp_path)
        process = start(*["--base-url", sim] * others, "--base-url", own.url, *words)
        try:
            wait_for(lambda: list(tmp_path.glob("*/capacity.json")))
            _in_probe(own.url, tmp_path, 1)
            own.stop()
        finally:
            output = finish(process)
    assert process.returncode == 1, output
    assert f"no connection to {own.url} at the end of the probe" in output
    [directory] = tmp_path.iterdir()
    assert f"restart it and continue with --resume {directory}" in output
    document = json.loads((directory / "capacity.json").read_text())
    # The last one may have ended with one or two refusals.
    probes = sorted(document["probes"], key=lambda row: row["file"])
    shares = [row["share"] for row in probes]
    assert set(shares[:-1]) <= {1}, shares
    assert shares[-1] > 0


def test_a_dataset_that_is_too_small_for_a_probe_is_named(sim, tmp_path):
    file = tmp_path / "few.jsonl"
    file.write_text('{"prompt": "Hello."}\n' * 12)
    dataset = ("--dataset-name", "custom", "--dataset-path", file, "--no-oversample")
    done = search(sim, *dataset, "--goodput", "ttft:60000", "--result-dir", tmp_path)
    assert done.returncode == 2, done.stdout
    assert "the dataset has 12 requests" in done.stderr


@pytest.mark.parametrize(
    "argv",
    [
        ("--dataset-name", "prefix_repetition", "--prefix-repetition-num-prefixes", 13),
        ("--backend", "openai-embeddings", "--random-batch-size", 4),
    ],
)
def test_a_dataset_that_makes_no_number_of_requests_is_searched_with(argv, sim, tmp_path):
    words = (*argv, "--goodput", "e2el:60000", "--budget", "60req", "--result-dir", tmp_path)
    done = search(sim, *words)
    assert done.returncode in (0, 1, 4), done.stderr  # the client may be the limit here
    assert "remove --no-oversample" not in done.stderr
    [directory] = tmp_path.iterdir()
    document, _ = found(directory)
    assert document["probes"]


def test_cancelled_requests_are_in_no_share(tmp_path):
    faults = ["--fault", "status=400", "--fault-rate", "0.5"]
    with launch(["--clock", "fixed", "--ttft-ms", "20", "--itl-ms", "2", *faults]) as half:
        gone = ("--cancel-rate", 0.5, "--cancel-after", "0.02s", "--slo", "failed_share<=0.9")
        words = (*gone, "--ready-check-timeout-sec", 0, "--model", "llmbench", "--max", 20)
        done = search(half.url, *words, "--budget", "60req", "--result-dir", tmp_path)
    assert done.returncode in (0, 1, 4), done.stderr  # the client may be the limit here
    [directory] = tmp_path.iterdir()
    document, _ = found(directory)
    for row in document["probes"]:
        probe = json.loads((directory / row["file"]).read_text())
        assert row["units"][0][1] <= probe["completed"] + probe["failed"] < row["requests"]


def test_connections_that_a_server_closes_are_a_load_that_is_too_high(tmp_path):
    """It is there after the probe."""
    with launch(["--clock", "fixed", "--fault", "disconnect"]) as broken:
        words = ("--goodput", "e2el:60000", "--ready-check-timeout-sec", 0, "--model", "llmbench")
        done = search(broken.url, *words, "--budget", "60req", "--result-dir", tmp_path)
    assert done.returncode in (0, 4), done.stderr  # "below 10 req/s" is an answer
    assert "no connection to" not in done.stderr
    [directory] = tmp_path.iterdir()
    document, _ = found(directory)
    assert {(row["share"], row["throughput"]) for row in document["probes"]} == {(0, 0)}


def test_nobody_in_the_first_probe_is_no_search_to_go_on_with(tmp_path):
    words = ("--goodput", "e2el:60000", "--ready-check-timeout-sec", 0, "--model", "llmbench")
    nobody = f"http://127.0.0.1:{free_port()}"
    done = search(nobody, *words, "--result-dir", tmp_path)
    assert done.returncode == 1, done.stderr
    assert f"no connection to {nobody} at the end of the probe at 10" in done.stderr
    assert "--resume" not in done.stderr


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (("--goodput", "ttft:9", "--repeat", 3), "--repeat: cannot be used with --capacity"),
        (("--goodput", "ttft:9", "--run-time", "5s"), "--run-time: cannot be used with --capacity"),
        (
            ("--goodput", "ttft:9", "--num_prompts=50"),
            "--num-prompts: cannot be used with --capacity",
        ),
        (
            ("--goodput", "ttft:9", "--check", "failed<=0"),
            "--check: cannot be used with --capacity",
        ),
        (
            ("--goodput", "ttft:9", "--per-request", "x.csv"),
            "--per-request: cannot be used with --capacity",
        ),
        ((*CHATS, "--num-sessions", 5), "--num-sessions: cannot be used with --capacity"),
        (
            (*CHATS, "--concurrent-sessions", 5),
            "--concurrent-sessions: cannot be used with --capacity",
        ),
        ((*CHATS, "--user-rate", 1, "--users", 5), "--user-rate: cannot be used with --capacity"),
        (
            ("--goodput", "ttft:9", "--llm-html", "x.html"),
            "under locust -f --llm-html: cannot be used with",
        ),
        (("--goodput", "ttft:9", "--resume", "nowhere"), "is not a capacity.json"),
        (
            ("--goodput", "ttft:9", "--result-dir", "/dev/null/results"),
            "--result-dir: /dev/null/results cannot be written",
        ),
        (("--slo", "p99_ttft_ms<=inf"), "does not limit anything that load makes worse"),
    ],
)
def test_bad_input_is_one_line(sim, argv, line):
    done = search(sim, *argv)
    assert done.returncode == 2
    assert line in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_costs_the_files_but_not_the_answer(sim, tmp_path):
    words = (*LOADS, *SMALL, "--goodput", "e2el:60000", "--result-dir", tmp_path)
    # The last seed that numpy has: the next probe begins at 0 again.
    process = start("--base-url", sim, *words, "--seed", 2**32 - 1, "--budget", "120req")
    try:
        _in_probe(sim, tmp_path, 1)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (10, 10))
    finally:
        output = finish(process)
    assert process.returncode in (1, 4), output  # the client may be the limit here
    assert "could not be written: File too large" in output
    assert "Traceback" not in output
    assert "apacity: " in output
    assert "Wrote" not in output


@pytest.mark.parametrize(
    "wrong", [{"load": "12"}, {"units": []}, {"requests": 1e30}, {"misses": None}, {"file": {}}]
)
def test_a_capacity_json_that_was_edited_is_refused(wrong, tmp_path):
    goal = Goal("e2el ≤ 60000 ms", 0.99)
    units = (Unit(2.0, 9.0, 10.0),)
    done = [Outcome(2.0, units, 10, 5.0, 0.1, 2.0)]
    whole = Answer("unknown", Settings((goal,)), tuple(done))
    document = as_dict(whole)
    assert outcomes_of(document) == done
    document["probes"][0] |= wrong
    (tmp_path / "capacity.json").write_text(json.dumps(document))
    ended = locust("--sim", *LOADS, "--goodput", "e2el:60000", "--resume", tmp_path)
    assert ended.returncode == 2, ended.stderr
    assert "capacity.json is not a capacity.json: " in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("search_for", ["request-rate", "max-concurrency"])
@pytest.mark.parametrize("mixed", [False, True])
def test_a_trace_that_keeps_its_own_times_has_no_load_to_search(mixed, search_for, sim, tmp_path):
    path = str(ROOT / "tests/data/inputs/burstgpt.csv")
    words = ("--dataset-name", "burstgpt", "--dataset-path", path, "--self-timed")
    if mixed:
        part = {"dataset-name": "burstgpt", "dataset-path": path, "self-timed": True}
        file = tmp_path / "mix.json"
        file.write_text(json.dumps([part]))
        words = ("--mix", file)
    directory = tmp_path / "out"
    argv = ("--goodput", "e2el:60000", "--search", search_for, "--max", 20)
    done = search(sim, *words, *argv, "--budget", "3s", "--result-dir", directory)
    assert done.returncode == 2, done.stdout
    assert "--capacity: cannot be used with the times of the trace" in done.stderr
    assert not list(directory.glob("*/probes/*"))
