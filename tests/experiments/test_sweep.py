"""`llmbench sweep` with a benchmark's command that writes a result at once, and its grid."""

import contextlib
import json
import os
import select
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests

from llmbench_locust.cli.sweep import _plan, main
from llmbench_locust.errors import ConfigError, SetupError
from llmbench_locust.experiments import grid, sweep
from tests.commands import SMALL, environment, free_port, wait_for

BENCH = """
import argparse, json, pathlib
p = argparse.ArgumentParser()
for flag in ("--request-rate", "--max-concurrency"):
    p.add_argument(flag, type=float, default=0.0)
p.add_argument("--num-prompts", type=int, default=8)
p.add_argument("--percentile-metrics"); p.add_argument("--save-result", action="store_true")
p.add_argument("--result-dir"); p.add_argument("--result-filename"); p.add_argument("--port")
a = p.parse_args()
assert a.request_rate != 13, "thirteen"
users = a.max_concurrency
rate = a.request_rate or (2.0 if users == 1 else 10.0)
found = {"request_throughput": rate, "mean_e2el_ms": 500.0}
(pathlib.Path(a.result_dir) / a.result_filename).write_text(json.dumps(found))
"""


@pytest.fixture
def bench(tmp_path):
    path = tmp_path / "bench.py"
    path.write_text(BENCH)
    return f"{shlex.quote(sys.executable)} {shlex.quote(str(path))} --port 9"


def run(bench, tmp_path, *words, verb="serve"):
    first = ("--bench-cmd", bench, "--after-bench-cmd", "true", "-e", "x")
    return main([verb, *first, "-o", str(tmp_path / "out"), *words])


def test_a_grid_is_laid_out_as_vllm_does_and_resumed(bench, tmp_path, capsys):
    words = ("--bench-params", "request_rate=[1,4]", "--num-runs", "2")
    assert run(bench, tmp_path, *words) == 0
    cell = tmp_path / "out/x/BENCH--request_rate=4"
    assert sorted(p.name for p in cell.iterdir()) == ["run=0.json", "run=1.json", "summary.json"]
    summary = json.loads((cell / "summary.json").read_text())
    assert [(r["run_number"], r["request_rate"]) for r in summary] == [(0, 4), (1, 4)]
    assert len((tmp_path / "out/x/summary.csv").read_text().splitlines()) == 5
    assert "BENCH--request_rate=4" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="--resume to continue it"):
        run(bench, tmp_path, *words)
    (cell / "run=0.json").unlink()
    # What a killed sweep leaves is no result.
    for name in (".run=0.json.partial", "..run=0.json.partial.abc"):
        (cell / name).write_text("{}")
    (cell / "run=1.json").write_text(json.dumps({**summary[1], "mine": 1}))
    assert run(bench, tmp_path, *words, "--resume") == 0
    summary = json.loads((cell / "summary.json").read_text())
    assert [r.get("mine") for r in summary] == [None, 1]
    assert sorted(p.name for p in cell.iterdir()) == ["run=0.json", "run=1.json", "summary.json"]


def test_a_failure_ends_the_sweep_or_costs_its_run(bench, tmp_path):
    words = ("--bench-params", "request_rate=[13,4]", "--num-runs", "1")
    with pytest.raises(SetupError, match="thirteen"):
        run(bench, tmp_path, *words)
    assert run(bench, tmp_path, *words, "--resume", "--continue-on-error") == 1
    cells = tmp_path / "out/x"
    assert (cells / "BENCH--request_rate=13/run=0.failure.json").exists()
    assert (cells / "BENCH--request_rate=4/summary.json").exists()


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ("request_rate=[1,-1]", "--bench-params: --request-rate: -1 is too small"),
        (
            "reqest_rate=[1]",
            "--bench-params: --reqest-rate: unknown flag; did you mean --request",
        ),
        ("save_detailed=[true,false]", "--bench-params: --no-save-detailed: unknown flag"),
        ("seed=[1] 'x", "--bench-params: No closing quotation"),
    ],
)
def test_parameters_that_serve_refuses_are_one_line_before_anything_runs(params, words, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match=f"^{words}.*$"):
        main(["serve", "--bench-params", params, "-o", str(out), "--", "--model", "m"])
    assert not out.exists()


@pytest.mark.parametrize("number", ["inf", "-1", "0"])
def test_serve_workload_needs_a_number_of_prompts(number, tmp_path):
    with pytest.raises(ConfigError, match=f"^--num-prompts: '{number}'; serve_workload needs"):
        main(["serve_workload", "-o", str(tmp_path / "out"), "--", "--num-prompts", number])


def test_serve_workload_goes_from_serial_to_batch(bench, tmp_path):
    words = ("--num-runs", "1", "--workload-iters", "4")
    assert run(bench, tmp_path, *words, verb="serve_workload") == 0
    names = {p.name for p in (tmp_path / "out/x").iterdir() if p.is_dir()}
    ends = {"WL--max_concurrency=1", "WL--max_concurrency=1000"}
    assert names == ends | {"WL--request_rate=5", "WL--request_rate=7"}


def test_a_server_that_dies_shows_its_last_lines(bench, tmp_path):
    server = f"{shlex.quote(sys.executable)} -c \"print('no GPU'); raise SystemExit(3)\""
    with pytest.raises(SetupError, match=r"(?s)status 3.*no GPU"):
        run(bench, tmp_path, "--serve-cmd", server)
    assert (tmp_path / "out/x/server.log").read_text() == "no GPU\n"


def test_a_long_line_of_a_log_is_cut(bench, tmp_path):
    server = f"{shlex.quote(sys.executable)} -c \"print('x' * 10**6); raise SystemExit(3)\""
    with pytest.raises(SetupError, match=r"(?s)status 3.*xxx") as error:
        run(bench, tmp_path, "--serve-cmd", server)
    assert len(str(error.value)) < 10_000


def test_a_server_that_died_after_a_run_is_named_before_the_next(tmp_path, capsys):
    port = free_port()
    server = tmp_path / "server.py"
    server.write_text(
        "import os, http.server as h\n"
        "class Mortal(h.SimpleHTTPRequestHandler):\n"
        "    def do_GET(self): self.path == '/die' and os._exit(3) or super().do_GET()\n"
        f"h.HTTPServer(('127.0.0.1', {port}), Mortal).serve_forever()\n"
    )
    (tmp_path / "health").write_text("")
    bench = tmp_path / "bench.py"
    bench.write_text(
        "import contextlib, http.client\n"
        f"asked = http.client.HTTPConnection('127.0.0.1', {port})\n"
        "asked.request('GET', '/die')\n"
        "with contextlib.suppress(Exception): asked.getresponse()\n"
        "raise SystemExit('no server')\n"
    )
    python = shlex.quote(sys.executable)
    words = ("--continue-on-error", "--bench-params", f"port={port}", "--num-runs", "2")
    start = f'{python} -c \'import os; os.chdir("{tmp_path}"); exec(open("server.py").read())\''
    done = run(
        f"{python} {shlex.quote(str(bench))} --port {port}", tmp_path, *words, "--serve-cmd", start
    )
    assert done == 1
    shown = capsys.readouterr().out
    assert "no server" in shown
    assert "the server exited with status 3; " in shown


def test_a_result_that_is_none_costs_its_run(tmp_path):
    bench = tmp_path / "bench.py"
    bench.write_text(BENCH.replace("json.dumps(found)", "'[1,2'"))
    command = f"{shlex.quote(sys.executable)} {shlex.quote(str(bench))} --port 9"
    with pytest.raises(ConfigError, match=r"run=0.json.partial is not a result: "):
        run(command, tmp_path, "--num-runs", "1")
    left = {path.name for path in (tmp_path / "out/x").iterdir()}
    assert left == {"run=0.failure.json"}


def test_a_half_written_result_is_named_when_a_sweep_is_resumed(bench, tmp_path):
    cell = tmp_path / "out/x/BENCH--request_rate=4"
    cell.mkdir(parents=True)
    (cell / "run=0.json").write_text('{"duration": ')
    with pytest.raises(ConfigError, match=r"request_rate=4/run=0.json is not a result: "):
        run(bench, tmp_path, "--bench-params", "request_rate=4", "--resume")


def test_the_next_load_needs_the_throughput(tmp_path):
    bench = tmp_path / "bench.py"
    bench.write_text(BENCH.replace('"mean_e2el_ms": 500.0', '"mean_e2el_ms": None'))
    command = f"{shlex.quote(sys.executable)} {shlex.quote(str(bench))} --port 9"
    with pytest.raises(SetupError, match="a result has no mean_e2el_ms"):
        run(command, tmp_path, "--num-runs", "1", verb="serve_workload")


def test_the_time_left_counts_the_start_of_each_server_once(tmp_path, monkeypatch, capsys):
    now = 0.0

    def passes(seconds):
        nonlocal now
        now += seconds

    def benchmark(words, show):
        passes(2)
        path = Path(words[words.index("--result-dir") + 1]) / words[-1]
        path.write_text('{"request_throughput": 1.0}')
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr(sweep, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(sweep._Sweep, "_wait_ready", lambda *_: passes(90))
    monkeypatch.setattr(sweep.child, "run", benchmark)
    monkeypatch.setattr(sweep, "_end", lambda process: process.wait())
    servers = [({"max_num_seqs": n}, [{}]) for n in (1, 2)]
    plan = sweep.Plan(tmp_path, ["true"], ["b"], ["true"], servers, "http://127.0.0.1:9")
    assert sweep.sweep(plan) == 0
    lines = [line.partition("  ")[0] for line in capsys.readouterr().out.splitlines()]
    assert lines[:6] == [
        "run 1 of 6",
        "run 2 of 6, about 100 s left",
        "run 3 of 6, about 98 s left",
        "run 4 of 6, about 6 s left",
        "run 5 of 6, about 4 s left",
        "run 6 of 6, about 2 s left",
    ]


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"max_num_seqs": 8}, ["--max-num-seqs", "8", "--b"]),
        ({"b": False}, ["--max-num-seqs", "1", "--no-b"]),
        ({"x.y": True}, ["--max-num-seqs", "1", "--b", "--x.y=true"]),
        (
            {"c": {"d": 1}, "_benchmark_name": "n"},
            ["--max-num-seqs", "1", "--b", "--c", '{"d": 1}'],
        ),
    ],
)
def test_a_parameter_replaces_its_flag_or_is_added(params, words):
    assert grid.command(["--max-num-seqs", "1", "--b"], params) == words


def test_a_parameter_takes_the_place_of_its_flag_and_values_alone():
    words = ["--num-prompts", "5", "-t", "60s", "--sim-args", "--clock fixed", "--burstiness", "-1"]
    found = grid.command(words, {"num_prompts": 9, "sim_args": "--ttft-ms 1", "burstiness": 2})
    assert found == [
        *("--num-prompts", "9", "-t", "60s", "--sim-args", "--ttft-ms 1", "--burstiness", "2")
    ]
    assert grid.command(["--x=1", "model"], {"x": 2}) == ["--x", "2", "model"]


def test_sigterm_to_the_sweep_ends_its_run_and_its_server(tmp_path):
    url = f"http://127.0.0.1:{free_port()}"
    llmbench = f"{shlex.quote(sys.executable)} -m llmbench_locust"
    flags = ["--serve-cmd", f"{llmbench} sim --port {url.rpartition(':')[2]}"]
    flags += ["--bench-params", "request_rate=[1]", "-o", str(tmp_path), "-e", "x"]
    process = subprocess.Popen(
        [*shlex.split(llmbench), "sweep", "serve", *flags, "--", "--base-url", url, *SMALL],
        env=environment(),
        start_new_session=True,
    )
    try:
        wait_for(lambda: _received(url) > 1)
        process.terminate()
        assert process.wait(60) == 143
        assert _received(url) == 0
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
        assert not list(tmp_path.rglob("run=*"))
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("words", "url"),
    [
        ("", "http://127.0.0.1:8000"),
        ("--host h --port 81", "http://h:81"),
        ("--host http://h:81", "http://h:81"),
        ("--host ::1 --port=81", "http://[::1]:81"),
        ("--base_url https://h/ --host other", "https://h"),
    ],
)
def test_the_server_is_the_one_that_the_benchmark_takes(words, url, tmp_path):
    plan = _plan("serve", ["-o", str(tmp_path), "--bench-cmd", f"bench {words}"], [])
    assert plan.base_url == url


def test_what_a_server_leaves_running_is_killed(monkeypatch):
    monkeypatch.setattr(sweep, "END_S", 0.3)
    process = subprocess.Popen(
        ["sh", "-c", "(trap '' TERM; echo ready; exec sleep 60) & wait"],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with process.stdout as out:
        assert out.readline() == b"ready\n"
        sweep._end(process)
        assert process.poll() == -signal.SIGTERM
        ended, _, _ = select.select([out], [], [], 5)
        assert ended, "its child holds the pipe still"


def _received(url):
    """Requests that the simulator has got; 0 without one."""
    with contextlib.suppress(requests.RequestException):
        return requests.get(f"{url}/sim/stats?requests=0", timeout=60).json()["received"]
    return 0


def test_names_and_links():
    serve, bench = [{"s": 1}, {"s": 2}], [{"b": 1}, {"b": 2}]
    assert list(grid.cells(serve, bench, [("s", "b")])) == [
        ({"s": 1}, [{"b": 1}]),
        ({"s": 2}, [{"b": 2}]),
    ]
    assert grid.directory({"a": "x/y"}, {"_benchmark_name": "n"}) == "SERVE--a=x_y-BENCH--n"


def test_two_combinations_of_one_name_are_refused():
    """The second one would find the result of the first."""
    first, other = {"_benchmark_name": "n", "b": 1}, {"_benchmark_name": "n", "b": 2}
    with pytest.raises(ConfigError, match=r"two combinations are called BENCH--n; give each"):
        list(grid.cells([{}], [first, other], []))
    assert list(grid.cells([{}], [first, first], [])) == [({}, [first, first])]


@pytest.mark.parametrize("text", ["{", "[]", "3", "[{1: 2}]", "[" * 100_000])
def test_a_parameter_file_that_is_none_is_one_line(text, tmp_path):
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="--bench-params: "):
        grid.combinations(str(path), "--bench-params")


def test_zombies_that_nobody_asks_for_are_not_waited_for():
    """As in a container whose first process is a shell."""
    code = (
        "import ctypes, subprocess, time; from llmbench_locust.experiments import sweep;"
        "ctypes.CDLL(None).prctl(36, 1, 0, 0, 0);"  # orphans come to this process
        "server = ['sh', '-c', 'sleep 100 & echo; wait'];"
        "p = subprocess.Popen(server, stdout=subprocess.PIPE, start_new_session=True);"
        "p.stdout.readline(); began = time.monotonic(); sweep._end(p);"
        "assert time.monotonic() - began < sweep.END_S"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
