"""`llmbench sweep`: runs the cells of a grid with the given commands, into the directories of `vllm
bench sweep`. Files are written atomically, so that --resume can continue.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import psutil
import requests

from llmbench_locust import child
from llmbench_locust.errors import BenchError, ConfigError, SetupError
from llmbench_locust.experiments.curves import Cell, Prices, read_result, table
from llmbench_locust.experiments.grid import Params, command, directory, spread
from llmbench_locust.json_types import Json
from llmbench_locust.json_values import json_value, number
from llmbench_locust.redact import without_user
from llmbench_locust.results.files import write_whole
from llmbench_locust.results.tables import text_table
from llmbench_locust.run.control_api import Server
from llmbench_locust.server_session import ServerSession
from llmbench_locust.terminal import say

LAST_LINES, LAST_BYTES = 20, 4000  # of a server's log
END_S = 10.0  # for a server and its child processes, before they are killed
Result = Json


@dataclass(frozen=True, slots=True)
class Plan:
    """``serve``, ``bench``, ``after``: command lines, empty for none. ``cells``: bench combinations
    of each serve combination. ``resets``: whether to reset the server's caches after each run,
    which the benchmark does not do. ``workload``: variable and number of values, None for a plain
    grid.
    """

    directory: Path
    serve: list[str]
    bench: list[str]
    after: list[str]
    cells: list[tuple[Params, list[Params]]]
    base_url: str
    resets: bool = True
    runs: int = 3
    warmup_prompts: int = 0
    ready_timeout_s: float = 300.0
    workload: tuple[str, int] | None = None
    show_stdout: bool = False
    dry_run: bool = False
    continue_on_error: bool = False


def sweep(plan: Plan) -> int:
    """Run everything without a result. Returns the number of failed runs; raises SetupError at the
    first failure unless ``continue_on_error``.
    """
    work = _Sweep(plan)
    for server_params, fits in plan.cells:
        try:
            with work.server(server_params):
                for bench_params in fits:
                    work.cell(server_params, bench_params)
        except SetupError as error:
            work.failed(
                plan.directory / f"{directory(server_params, {}) or 'SERVE'}-failure.json", error
            )
    if not plan.dry_run:
        work.write_csv()
        say(work.table())
    return work.failures


class _Sweep:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.failures = 0
        self.results: dict[str, list[Result]] = {}
        per_cell = plan.runs * (1 if plan.workload is None else plan.workload[1])
        self._total = sum(len(fits) for _, fits in plan.cells) * per_cell
        self._begun, self._ran, self._done = time.monotonic(), 0, 0
        self._starting_s, self._started = 0.0, 0
        self._warned = False
        self._server = Server(plan.base_url, {})
        self._process: subprocess.Popen[bytes] | None = None  # of --serve-cmd

    # --- the server

    @contextmanager
    def server(self, params: Params) -> Iterator[None]:
        """Start the server with these parameters, and end its whole process group afterwards."""
        words = command(self.plan.serve, params)
        if not self.plan.serve or self.plan.dry_run:
            if self.plan.serve:
                say(f"server: {_shown(words)}")
            yield
            return
        log = self.plan.directory / f"{directory(params, {}) or 'server'}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "VLLM_SERVER_DEV_MODE": "1"}
        begun = time.monotonic()
        with log.open("wb") as out:
            try:
                process = subprocess.Popen(
                    words, stdout=out, stderr=out, env=environment, start_new_session=True
                )
            except OSError as e:
                raise SetupError(f"--serve-cmd: {words[0]} cannot be started: {e.strerror}") from e
            try:
                self._process, self._log = process, log
                self._wait_ready(process)
                self._starting_s += time.monotonic() - begun
                self._started += 1
                yield
            finally:
                self._process = None
                _end(process)

    def _wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + self.plan.ready_timeout_s
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise self._exited(process.returncode)
            if _status(f"{self.plan.base_url}/health") == 200:
                return
            time.sleep(0.5)
        raise SetupError(
            f"--server-ready-timeout: no 200 from {without_user(self.plan.base_url)}/health "
            f"within {self.plan.ready_timeout_s:g} s; {_tail(self._log)}"
        )

    def _exited(self, status: int) -> SetupError:
        return SetupError(
            f"--serve-cmd: the server exited with status {status}; {_tail(self._log)}"
        )

    def _reset_caches(self) -> None:
        if self.plan.after:
            subprocess.run(self.plan.after, check=False, stdout=subprocess.DEVNULL)
        elif self.plan.resets and (error := self._server.reset_cache()) and not self._warned:
            say(f"The server's caches are not reset: {error}")
            self._warned = True

    # --- cells

    def cell(self, server_params: Params, bench_params: Params) -> None:
        """All runs of one combination, for each value of the workload variable if there is one."""
        if self.plan.workload is None:
            self._runs(server_params, bench_params, None)
            return
        variable, count = self.plan.workload
        prompts = _prompts(command(self.plan.bench, bench_params))
        ends = []
        for users in (1, prompts):
            found = self._runs(
                server_params, {**bench_params, "max_concurrency": users}, "max_concurrency"
            )
            if not found:
                if self.plan.dry_run:
                    continue
                return
            rate, ms = (_mean(found, k) for k in ("request_throughput", "mean_e2el_ms"))
            ends.append(rate if variable == "request_rate" else rate * ms / 1000)
        if len(ends) == 2:
            low, high = math.ceil(ends[0]), math.floor(ends[1])
            for value in spread(low, max(low, high), count)[1:-1]:
                self._runs(server_params, {**bench_params, variable: value}, variable)

    def _runs(self, server: Params, bench: Params, variable: str | None) -> list[Result]:
        plain = {k: v for k, v in bench.items() if k != variable}
        name = directory(server, plain, None if variable is None else {variable: bench[variable]})
        path = self.plan.directory / name
        if self.plan.warmup_prompts and not (path / "warmup.json").exists():
            self._run(path / "warmup.json", {**bench, "num_prompts": self.plan.warmup_prompts})
        found = []
        for nth in range(self.plan.runs):
            file = path / f"run={nth}.json"
            fresh = not file.exists()
            there = not fresh or self._run(file, bench)
            self._done += 1
            if not there:
                continue
            result = read_result(file) if not self.plan.dry_run else {}
            if fresh and not self.plan.dry_run:
                result = {**result, "run_number": nth, **server, **bench}
                write_whole(file, json.dumps(result, indent=4).encode())
            found.append(result)
        if found and not self.plan.dry_run:
            write_whole(path / "summary.json", json.dumps(found, indent=4).encode())
            self.results[name or "."] = found
        return [] if self.plan.dry_run else found

    def _run(self, file: Path, bench: Params) -> bool:
        """Run the benchmark's command once; returns whether its file exists."""
        partial = file.with_name(f".{file.name}.partial")
        words = [
            *command(self.plan.bench, bench),
            "--percentile-metrics",
            "ttft,tpot,itl,e2el",
            "--save-result",
            "--result-dir",
            str(file.parent),
            "--result-filename",
            partial.name,
        ]
        if self.plan.dry_run:
            say(f"run: {_shown(words)}")
            return True
        file.parent.mkdir(parents=True, exist_ok=True)
        for left in file.parent.glob(f".*{file.name}.*"):  # left by a killed sweep
            left.unlink()
        say(f"{self._progress()}  {file.relative_to(self.plan.directory)}")
        try:
            if self._process is not None and self._process.poll():
                raise self._exited(self._process.returncode)
            done = child.run(words, show=self.plan.show_stdout)
            self._ran += 1
            if done.returncode or not partial.exists():
                last = (done.stderr or done.stdout or "no output").strip().splitlines()[-3:]
                refused = done.returncode == ConfigError.exit_code
                raise (ConfigError if refused else SetupError)(
                    f"--bench-cmd: status {done.returncode}, {file.name} was not written: "
                    f"{' / '.join(last)}"
                )
            read_result(partial)
            os.replace(partial, file)
        except OSError as e:
            raise SetupError(f"--bench-cmd: {words[0]} cannot be run: {e.strerror}") from e
        except BenchError as error:
            self.failed(file.with_name(f"{file.stem}.failure.json"), error)
            return False
        finally:
            partial.unlink(missing_ok=True)
        file.with_name(f"{file.stem}.failure.json").unlink(missing_ok=True)
        self._reset_caches()
        return True

    def failed(self, file: Path, error: BenchError) -> None:
        """Save ``error`` beside the results. Raises it unless the sweep continues."""
        self.failures += 1
        write_whole(file, json.dumps({"error": str(error)}, indent=4).encode())
        if not self.plan.continue_on_error:
            raise error
        say(f"error: {error}")

    def _progress(self) -> str:
        left = ""
        if self._ran:
            running_s = time.monotonic() - self._begun - self._starting_s
            seconds = running_s / self._ran * (self._total - self._done)
            if self._started:
                others = len(self.plan.cells) - self._started
                seconds += self._starting_s / self._started * others
            left = f", about {_rounded(seconds)} left"
        return f"run {self._done + 1} of {self._total}{left}"

    # --- results

    def write_csv(self) -> None:
        """Write summary.csv: a row per run, all keys as columns."""
        rows = [json_value(row) for found in self.results.values() for row in found]
        keys = list(dict.fromkeys(key for row in rows for key in row))
        out = io.StringIO()
        writer = csv.DictWriter(out, keys)
        writer.writeheader()
        writer.writerows(rows)
        write_whole(self.plan.directory / "summary.csv", out.getvalue().encode())

    def table(self) -> str:
        """Mean over the runs ± half the width of the 95% interval, a line per cell."""
        cells = [Cell("", name, (), tuple(runs)) for name, runs in self.results.items()]
        return text_table(table(cells, Prices()), figures=True)


def _rounded(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"


def _mean(found: list[Result], key: str) -> float:
    values = [number(result.get(key)) for result in found]
    known = [value for value in values if value is not None]
    if len(known) < len(found):
        raise SetupError(f"serve_workload: a result has no {key}, which the next load depends on")
    return mean(known)


def _shown(words: list[str]) -> str:
    return " ".join(without_user(word) if "://" in word else word for word in words)


def _prompts(words: list[str]) -> int:
    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    known.add_argument("--num-prompts", "--num_prompts", default="1000")
    given: str = known.parse_known_args(words)[0].num_prompts
    if not given.isdecimal() or not int(given):
        raise ConfigError(f"--num-prompts: {given!r}; serve_workload needs a number of 1 or more")
    return int(given)


def _status(url: str) -> int:
    """The HTTP status; 0 without a response."""
    try:
        return ServerSession(url).get(url, timeout=10).status_code
    except requests.RequestException:
        return 0


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LAST_BYTES))
        last = file.read().decode(errors="replace").splitlines()[-LAST_LINES:]
    return "\n".join([f"{log} ends with:", *last]) if last else f"{log} is empty"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and its children with SIGTERM, then any left with SIGKILL."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):  # the group is empty
            os.killpg(process.pid, sign)
        deadline = time.monotonic() + END_S
        while (going := _going(process.pid)) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.poll()
        if not going:
            return


def _going(group: int) -> bool:
    """Whether a process of the group has not ended. A zombie stays in the group until its parent
    reaps it, which never happens where the first process of a container is a shell.
    """
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, psutil.Error):  # it has ended meanwhile
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False
