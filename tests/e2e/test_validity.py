"""The verdict of real runs. Each reason is raised alone, by a switch of the simulator or by another
client of the server; clean runs have none.
"""

import json
import random
import socket
import threading
from pathlib import Path

import pytest
import requests

from llmbench_locust.simulator.launch import launch
from tests.commands import MOST_S, SMALL, finish, start

FIXED = ("--clock", "fixed", "--ttft-ms", "10", "--itl-ms", "1")
INPUTS = Path(__file__).parent.parent / "data" / "inputs"
HANDS_OFF = ("--ready-check-timeout-sec", 0)


@pytest.fixture(scope="module")
def sim():
    """With a cache, which only some tests fill."""
    with launch([*FIXED, "--prefix-cache", "100000"]) as running:
        yield running


@pytest.fixture(scope="module")
def bench():
    """What a command line in the one Locust process of this file came to: status and output."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        process = start(
            *("--base-url", "http://127.0.0.1:9", "--tokenizer", "llmbench"),
            env={"CASES_PORT": str(door.getsockname()[1])},
            locustfile=Path(__file__).with_name("cases.py"),
        )
        door.settimeout(MOST_S)
        connection = door.accept()[0]
    with connection, connection.makefile("rw") as cases:

        def carry_out(*argv):
            print(json.dumps([str(word) for word in argv]), file=cases, flush=True)
            return json.loads(cases.readline())

        yield carry_out
    finish(process)


@pytest.fixture
def run(bench, tmp_path):
    """(block of the result, what was printed, names of the reasons without the busy machine's)."""

    def once(url, *more, num_prompts=70, rate=100):
        (tmp_path / "r.json").unlink(missing_ok=True)
        done = bench(
            *("--base-url", url, "--num-prompts", num_prompts, *SMALL),
            *(("--request-rate", rate) if rate else ()),
            *("--random-input-len", 200, "--metric-percentiles", 90, "--strict", "--save-result"),
            *("--result-dir", tmp_path, "--result-filename", "r.json", *more),
        )
        block = json.loads((tmp_path / "r.json").read_text())["llmbench"]
        valid, printed = block["validity"]["valid"], done["printed"]
        assert done["status"] == (None if valid else 4), printed
        verdict = next(x for x in reversed(printed.splitlines()) if x.startswith("Result: "))
        assert verdict.startswith("Result: valid") == valid
        names = [r["reason"] for r in block["validity"]["reasons"]]
        return block, printed, [name for name in names if name != "client_limited"]

    return once


def test_the_same_seed_twice_finds_a_warm_cache_and_three_ways_out(run, sim):
    first, _, names = run(sim.url)
    assert names == []
    _, printed, names = run(sim.url)
    assert names == ["warm_cache"]
    assert "Use --reset-cache auto, --cache-bust run, or another --seed." in printed
    lengths = first["server"]["all"]["counters"]["prompt_tokens"]
    salts = set()
    for bust in ("run", "run", "conversation"):
        block, printed, names = run(sim.url, "--cache-bust", bust)
        assert names == []
        assert block["server"]["all"]["counters"]["prompt_tokens"] == lengths
        assert block["workload"]["hash"] == first["workload"]["hash"]
        assert f"(--cache-bust {bust})" in printed
        salts.add(block["cold_cache"]["salt"])
    assert len(salts) == 3
    _, printed, names = run(sim.url, "--reset-cache", "auto", "--seed", 1)
    assert names == []
    assert "Prefix cache: emptied" in printed


#: Words that make prompts which share nothing.
WORDS = ("river", "winter", "engine", "letter", "garden", "planet", "music", "doctor")


def words(n, seed):
    rng = random.Random(seed)
    return " ".join(rng.choice(WORDS) for _ in range(n))


def clean_datasets(folder):
    """Flags by dataset, those of a mix together: nothing in them is wrong."""
    talks = [
        {"messages": [{"role": r, "content": words(30, f"{i} {k}")} for k, r in enumerate(ROLES)]}
        for i in range(40)
    ]
    custom = [{"prompt": words(40, i), "output_tokens": 8} for i in range(80)]
    trace = [
        {"timestamp": 20 * i, "input_length": 170, "output_length": 8, "hash_ids": [i % 7, 99 + i]}
        for i in range(70)
    ]
    for name, rows in (("talks", talks), ("custom", custom), ("trace", trace)):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    mix = [
        {"dataset-name": "random", "input-len": 120},
        {"dataset-name": "custom", "dataset-path": str(folder / "custom.jsonl")},
        {"dataset-name": "sonnet"},
        {"dataset-name": "burstgpt", "dataset-path": str(INPUTS / "burstgpt.csv")},
        {"dataset-name": "prefix_repetition", "prefix-repetition-num-prefixes": 3},
    ]
    (folder / "mix.json").write_text(json.dumps([part | {"output-len": 8} for part in mix]))
    chat = ("--backend", "openai-chat", "--dataset-name", "messages")
    timed = ("--dataset-name", "timed_trace", "--timed-trace-sec-multiplier", 0.001)
    return {
        "mix": ("--mix", folder / "mix.json"),
        "messages": (*chat, "--dataset-path", folder / "talks.jsonl"),
        "timed_trace": (*timed, "--dataset-path", folder / "trace.jsonl"),
    }


ROLES = ("user", "assistant", "user", "assistant")


@pytest.mark.parametrize("name", ["mix", "messages", "timed_trace"])
def test_a_clean_run_of_each_kind_of_dataset_raises_no_reason(run, sim, tmp_path, name):
    flags = clean_datasets(tmp_path)[name]
    rate = None if name == "timed_trace" else 40
    block, _, names = run(sim.url, *flags, "--reset-cache", "always", rate=rate)
    assert names == []
    assert block["completed"] >= 64
    assert block["failed"] == 0
    assert block["server"]["all"]["counters"]["prefix_cache_queries"] > 0


def test_a_warm_cache_is_seen_by_the_answers_own_counts(run, sim):
    off = ("--server-metrics", "off")
    first = run(sim.url, *off, "--reset-cache", "always")[2]
    assert [first, run(sim.url, *off)[2]] == [[], ["warm_cache"]]


def test_prefixes_within_the_workload_stay_shared_beside_a_salt(run, sim):
    """14 prefixes of 160 tokens with 5 suffixes each: the cache serves most, whatever the salt."""
    shared = ("--dataset-name", "prefix_repetition", "--prefix-repetition-num-prefixes", 14)
    shared += ("--prefix-repetition-prefix-len", 160, "--prefix-repetition-suffix-len", 32)
    shared += ("--prefix-repetition-output-len", 8)
    hits = []
    for bust in ("none", "run"):
        block, _, names = run(sim.url, *shared, "--cache-bust", bust)
        assert names == []
        counters = block["server"]["all"]["counters"]
        hits.append(counters["prefix_cache_hits"] / counters["prefix_cache_queries"])
    assert hits[1] == pytest.approx(hits[0], abs=0.03)
    assert hits[1] > 0.5


def test_repeats_begin_cold_and_a_server_in_use_is_not_emptied(bench, sim, tmp_path):
    """Somebody else's request runs for the whole time: the cache is left to it, and salts do."""
    body = {"prompt": "else", "max_tokens": 5000, "stream": True, "ignore_eos": True}
    with requests.post(f"{sim.url}/v1/completions", json=body, stream=True, timeout=60):
        done = bench(
            *("--base-url", sim.url, "--num-prompts", 64, "--request-rate", 100, *SMALL),
            *("--random-input-len", 200, "--repeat", 2, "--same-seed", "--save-result"),
            *("--metric-percentiles", 90, "--result-dir", tmp_path),
        )
    assert done["printed"].count("not emptied (1 request of other clients running)") == 2
    for number in range(2):
        block = json.loads((tmp_path / f"result.{number}.json").read_text())["llmbench"]
        names = {r["reason"] for r in block["validity"]["reasons"]}
        assert names <= {"client_limited"}


def test_other_traffic(run, sim):
    """A second client finishes requests while the run goes on."""
    stop = threading.Event()

    def disturb():
        while not stop.is_set():
            body = {"prompt": "else", "max_tokens": 1}
            requests.post(f"{sim.url}/v1/completions", json=body, timeout=60)
            stop.wait(0.05)

    other = threading.Thread(target=disturb)
    other.start()
    try:
        assert run(sim.url, "--seed", 3)[2] == ["other_traffic"]
    finally:
        stop.set()
        other.join()


def test_a_server_whose_counters_fall_was_restarted(run):
    """Its statistics are reset before the end, those of its GPU, too."""
    with launch([*FIXED, "--prefix-cache", "1"]) as sim:
        done = threading.Event()

        def reset():
            while not done.wait(0.01):
                seen = requests.get(f"{sim.url}/sim/stats?requests=0", timeout=60).json()
                if seen["received"] > 130:
                    requests.post(f"{sim.url}/sim/reset", timeout=60)
                    return

        other = threading.Thread(target=reset)
        other.start()
        try:
            gpu = ("--gpu-metrics", f"{sim.url}/dcgm/metrics")
            block, printed, names = run(sim.url, *gpu, num_prompts=300, rate=60)
        finally:
            done.set()
            other.join()
        assert names == ["server_restarted"]
        assert block["gpu"]["energy_j"] is None
        assert "Energy: unknown: the energy counter decreased" in printed


def test_a_rate_that_the_server_does_not_reach(run):
    """It completes about 50 requests a second."""
    slow = ("--clock", "engine", "--max-num-seqs", "4", "--step-ms", "10")
    with launch(slow) as sim:
        found = run(sim.url, "--burstiness", "inf", num_prompts=190, rate=70)
    assert found[2] == ["rate_not_reached"]
    assert "warning: The server did not keep up: offered " in found[1]
    assert "Lower --request-rate" in found[1]


def test_duplicates_and_few_requests(run, sim, tmp_path):
    data = tmp_path / "same.jsonl"
    data.write_text("\n".join(json.dumps({"prompt": f"Question {i % 4}"}) for i in range(64)))
    same = ("--dataset-name", "custom", "--dataset-path", data, "--custom-output-len", 8)
    assert run(sim.url, *same)[2] == ["duplicate_prompts"]
    _, printed, names = run(sim.url, "--reset-cache", "always", num_prompts=63)
    assert names == ["too_few_samples"]
    assert "P90 needs at least 64 successful requests; this run has 63." in printed
    assert "with --metric-percentiles 50,75" in printed


@pytest.mark.parametrize(
    ("switches", "reason"),
    [
        ((*FIXED, "--fault", "status=500", "--fault-rate", "0.2"), "failed_requests"),
        (("--clock", "engine", "--kv-tokens", "405"), "server_preempted"),
    ],
)
def test_switches_of_the_simulator(run, switches, reason):
    with launch(list(switches)) as sim:
        assert run(sim.url, *HANDS_OFF, num_prompts=100)[2] == [reason]


@pytest.mark.parametrize(
    ("header", "rate", "reasons", "warnings"),
    [
        ("fault=limit=4", 100, ["short_answers"], []),
        ("fault=short=4", 100, [], []),
        ("fault=tokens_per_chunk=4", 100, [], ["chunks_carry_several_tokens"]),
        ("fault=glue=8", 100, [], ["answers_in_one_piece"]),
        ("ttft-ms=500", None, [], ["not_steady"]),
    ],
)
def test_answers_of_other_forms(run, sim, header, rate, reasons, warnings):
    """What is in ``warnings`` leaves the result valid. All requests at once are no steady load."""
    flags = ("--reset-cache", "always", "--header", f"x-sim-{header}")
    block, _, names = run(sim.url, *flags, rate=rate)
    assert names == reasons
    assert block["validity"]["warnings"] == warnings
