"""A search for the capacity as a user starts it: probes, the files that it leaves, going on."""

import json

import pytest

from llmbench_locust.simulator.launch import launch
from tests.commands import SMALL, locust

LOADS = ("--capacity", "--min", "20", "--max", "80", "--probe-time", "1")


@pytest.fixture(scope="module")
def sim():
    with launch(["--clock", "fixed", "--ttft-ms", "20", "--itl-ms", "2"]) as running:
        yield running.url


def search(sim, *argv):
    return locust("--base-url", sim, *LOADS, *SMALL, *argv, timeout=120)


def found(directory):
    """What a search left: the document, and its probes by their numbers."""
    assert (directory / "report.html").exists()
    document = json.loads((directory / "capacity.json").read_text())
    probes = {path.name.partition("-")[0] for path in (directory / "probes").iterdir()}
    return document, sorted(probes)


def test_a_search_leaves_its_probes_and_goes_on_from_them(sim, tmp_path):
    goal = ("--goodput", "e2el:60000")
    done = search(sim, *goal, "--budget", "30req", "--result-dir", tmp_path)
    # Whether the client was the limit depends on this machine.
    assert done.returncode in (0, 1, 4), done.stderr
    assert "Traceback" not in done.stderr
    assert "Capacity:" in done.stdout
    (directory,) = tmp_path.iterdir()
    document, probes = found(directory)
    assert [goal["name"] for goal in document["goals"]] == ["e2el ≤ 60000 ms"]
    assert probes == [f"{n:02d}" for n in range(1, len(probes) + 1)]
    for path in (directory / "probes").iterdir():
        probe = json.loads(path.read_text())
        assert (probe["completed"], probe["failed"]) == (probe["num_prompts"], 0)
        assert probe["request_rate"] == probe["capacity_probe"]["load"]

    done = search(sim, *goal, "--budget", "90req", "--resume", directory)
    assert done.returncode in (0, 1, 4), done.stderr
    _, more = found(directory)
    assert more[: len(probes)] == probes
    assert len(more) > len(probes)


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (("--goodput", "ttft:9", "--request-rate", 3), "--request-rate: not with --capacity"),
        (("--goodput", "ttft:9", "--resume", "nowhere"), "is not a capacity.json"),
    ],
)
def test_bad_input_is_one_line(sim, argv, line):
    done = search(sim, *argv)
    assert done.returncode == 2
    assert line in done.stderr
    assert "Traceback" not in done.stderr
