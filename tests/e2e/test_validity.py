"""The verdict of real runs. Each reason is raised alone, by a switch of the simulator or by another
client of the server; clean runs have none.
"""

import json
import random
import threading
from pathlib import Path

import pytest
import requests

from llmbench_locust.simulator.launch import launch
from tests.commands import SMALL, locust

FIXED = ("--clock", "fixed", "--ttft-ms", "10", "--itl-ms", "1")
INPUTS = Path(__file__).parent.parent / "data" / "inputs"
HANDS_OFF = ("--ready-check-timeout-sec", 0)


@pytest.fixture(scope="module")
def sim():
    """With a cache, which only some tests fill."""
    with launch([*FIXED, "--prefix-cache", "100000"]) as running:
        yield running


def run(url, tmp_path, *more, num_prompts=70, rate=100):
    """(block of the result, what was printed, names of the reasons without the busy machine's)."""
    (tmp_path / "r.json").unlink(missing_ok=True)
    done = locust(
        *("--base-url", url, "--num-prompts", num_prompts, *SMALL),
        *(("--request-rate", rate) if rate else ()),
        *("--random-input-len", 200, "--metric-percentiles", 90, "--strict", "--save-result"),
        *("--result-dir", tmp_path, "--result-filename", "r.json", *more),
    )
    block = json.loads((tmp_path / "r.json").read_text())["llmbench"]
    assert (done.returncode == 0) == block["validity"]["valid"], done.stderr
    verdict = next(x for x in reversed(done.stdout.splitlines()) if x.startswith("Result: "))
    assert verdict.startswith("Result: valid") == block["validity"]["valid"]
    names = [r["reason"] for r in block["validity"]["reasons"]]
    return block, done.stdout, [name for name in names if name != "client_limited"]


def test_the_same_seed_twice_finds_a_warm_cache_and_three_ways_out(sim, tmp_path):
    first, _, names = run(sim.url, tmp_path)
    assert names == []
    _, printed, names = run(sim.url, tmp_path)
    assert names == ["warm_cache"]
    assert "Use --reset-cache auto, --cache-bust run, or another --seed." in printed
    lengths = first["server"]["all"]["counters"]["prompt_tokens"]
    salts = set()
    for bust in ("run", "run", "conversation"):
        block, printed, names = run(sim.url, tmp_path, "--cache-bust", bust)
        assert names == []
        assert block["server"]["all"]["counters"]["prompt_tokens"] == lengths
        assert block["workload"]["hash"] == first["workload"]["hash"]
        assert f"(--cache-bust {bust})" in printed
        salts.add(block["cold_cache"]["salt"])
    assert len(salts) == 3
    _, printed, names = run(sim.url, tmp_path, "--reset-cache", "auto", "--seed", 1)
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
def test_a_clean_run_of_each_kind_of_dataset_raises_no_reason(sim, tmp_path, name):
    flags = clean_datasets(tmp_path)[name]
    rate = None if name == "timed_trace" else 40
    block, _, names = run(sim.url, tmp_path, *flags, "--reset-cache", "always", rate=rate)
    assert names == []
    assert block["completed"] >= 64
    assert block["failed"] == 0
    assert block["server"]["all"]["counters"]["prefix_cache_queries"] > 0


def test_a_warm_cache_is_seen_by_the_answers_own_counts(sim, tmp_path):
    off = ("--server-metrics", "off")
    first = run(sim.url, tmp_path, *off, "--reset-cache", "always")[2]
    assert [first, run(sim.url, tmp_path, *off)[2]] == [[], ["warm_cache"]]


def test_prefixes_within_the_workload_stay_shared_beside_a_salt(sim, tmp_path):
    """14 prefixes of 160 tokens with 5 suffixes each: the cache serves most, whatever the salt."""
    shared = ("--dataset-name", "prefix_repetition", "--prefix-repetition-num-prefixes", 14)
    shared += ("--prefix-repetition-prefix-len", 160, "--prefix-repetition-suffix-len", 32)
    shared += ("--prefix-repetition-output-len", 8)
    hits = []
    for bust in ("none", "run"):
        block, _, names = run(sim.url, tmp_path, *shared, "--cache-bust", bust)
        assert names == []
        counters = block["server"]["all"]["counters"]
        hits.append(counters["prefix_cache_hits"] / counters["prefix_cache_queries"])
    assert hits[1] == pytest.approx(hits[0], abs=0.03)
    assert hits[1] > 0.5


def test_repeats_begin_cold_and_a_server_in_use_is_not_emptied(sim, tmp_path):
    """Somebody else's request runs for the whole time: the cache is left to it, and salts do."""
    body = {"prompt": "else", "max_tokens": 5000, "stream": True, "ignore_eos": True}
    with requests.post(f"{sim.url}/v1/completions", json=body, stream=True, timeout=60):
        done = locust(
            *("--base-url", sim.url, "--num-prompts", 64, "--request-rate", 100, *SMALL),
            *("--random-input-len", 200, "--repeat", 2, "--same-seed", "--save-result"),
            *("--metric-percentiles", 90, "--result-dir", tmp_path),
        )
    assert done.stdout.count("not emptied (1 request of others running there)") == 2
    for number in range(2):
        block = json.loads((tmp_path / f"result.{number}.json").read_text())["llmbench"]
        names = {r["reason"] for r in block["validity"]["reasons"]}
        assert names <= {"client_limited"}


def test_other_traffic(sim, tmp_path):
    """A second client finishes requests while the run goes on."""
    stop = threading.Event()

    def disturb():
        while not stop.is_set():
            body = {"prompt": "else", "max_tokens": 1}
            requests.post(f"{sim.url}/v1/completions", json=body, timeout=10)
            stop.wait(0.05)

    other = threading.Thread(target=disturb)
    other.start()
    try:
        assert run(sim.url, tmp_path, "--seed", 3)[2] == ["other_traffic"]
    finally:
        stop.set()
        other.join()


def test_a_server_whose_counters_fall_was_restarted(tmp_path):
    """Its statistics are reset in the middle."""
    with launch([*FIXED, "--prefix-cache", "1"]) as sim:
        done = threading.Event()

        def reset():
            while not done.wait(0.01):
                seen = requests.get(f"{sim.url}/sim/stats?requests=0", timeout=5).json()
                if seen["received"] > 100:
                    requests.post(f"{sim.url}/sim/reset", timeout=5)
                    return

        other = threading.Thread(target=reset)
        other.start()
        try:
            found = run(sim.url, tmp_path, num_prompts=300, rate=60)[2]
        finally:
            done.set()
            other.join()
        assert found == ["server_restarted"]


def test_a_rate_that_the_server_does_not_reach(tmp_path):
    """It completes about 25 requests a second."""
    slow = ("--clock", "engine", "--max-num-seqs", "2", "--step-ms", "10")
    with launch(slow) as sim:
        found = run(sim.url, tmp_path, num_prompts=240, rate=60)
    assert found[2] == ["rate_not_reached"]
    assert "Lower --request-rate" in found[1]


def test_duplicates_and_few_requests(sim, tmp_path):
    data = tmp_path / "same.jsonl"
    data.write_text("\n".join(json.dumps({"prompt": f"Question {i % 4}"}) for i in range(64)))
    same = ("--dataset-name", "custom", "--dataset-path", data, "--custom-output-len", 8)
    assert run(sim.url, tmp_path, *same)[2] == ["duplicate_prompts"]
    _, printed, names = run(sim.url, tmp_path, "--reset-cache", "always", num_prompts=63)
    assert names == ["too_few_samples"]
    assert "P90 needs at least 64 successful requests; this run has 63." in printed
    assert "with --metric-percentiles 50,75" in printed


@pytest.mark.parametrize(
    ("switches", "flags", "reason"),
    [
        (("--fault", "status=500", "--fault-rate", "0.2"), HANDS_OFF, "failed_requests"),
        (("--fault", "limit=4"), (), "short_answers"),
        (("--fault", "short=4"), (), None),
        (("--clock", "engine", "--kv-tokens", "405"), (), "server_preempted"),
    ],
)
def test_switches_of_the_simulator(tmp_path, switches, flags, reason):
    first = () if "--clock" in switches else FIXED
    with launch([*first, *switches]) as sim:
        found = run(sim.url, tmp_path, *flags, num_prompts=100)[2]
    assert found == ([reason] if reason else [])
