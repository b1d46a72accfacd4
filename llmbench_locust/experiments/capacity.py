"""`--capacity`: runs the search of `experiments.search`; each probe is a run of one Locust test."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from llmbench_locust.datasets import dataset_info
from llmbench_locust.errors import BenchError, ConfigError, Interrupted, SetupError
from llmbench_locust.experiments import objectives
from llmbench_locust.experiments.answer import as_dict, outcomes_of, spent, text
from llmbench_locust.experiments.evidence import Goal, Outcome
from llmbench_locust.experiments.search import Answer, Settings, search
from llmbench_locust.json_values import json_value
from llmbench_locust.metrics.vllm import good
from llmbench_locust.options.config import RunConfig
from llmbench_locust.records import RecordColumns
from llmbench_locust.redact import without_user
from llmbench_locust.results.files import check_directory, write_result, write_whole
from llmbench_locust.results.tables import short
from llmbench_locust.run.benchmark import Progress, replicas_of
from llmbench_locust.run.lifecycle import WATCH_S, Runs
from llmbench_locust.run.report import Report
from llmbench_locust.statistics.crowding import crowding
from llmbench_locust.statistics.transients import completion_rate, grows, steady_window
from llmbench_locust.terminal import say, warn

CLIENT_LIMITED = 4  # exit status
LAST = 5  # last requests of a probe that show whether the server is still there
CONNECTION_ERRORS = {"connect", "cut"}  # how they fail if it is not


def capacity(runs: Runs) -> None:
    """Find the capacity, print it, and write capacity.json, report.html and probes/.

    Raises ConfigError before the first request.
    """
    experiment = _Capacity(runs)
    answer = search(experiment.probe, experiment.settings, experiment.done, experiment.publish)
    experiment.finish(answer)


class _Capacity:
    def __init__(self, runs: Runs) -> None:
        config = runs.config
        self._runs = runs
        self._config = config
        self._objectives = objectives.objectives(config.goodput, config.attainment, config.slo)
        _check_flags(config)
        seconds, requests = config.budget
        self.settings = Settings(
            goals=tuple(objective.goal for objective in self._objectives),
            lowest=config.min or 0.5,
            highest=config.max,
            tolerance=config.tolerance,
            budget_s=seconds,
            budget_requests=requests,
            probe_time_s=config.probe_time,
            seed=config.seed,
            fewest=_fewest(config),
            whole=config.search == "max-concurrency",
        )
        self.done: list[Outcome] = []
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        self.directory = Path(config.result_dir or "results") / f"capacity-{stamp}"
        if config.resume is not None:
            self.directory = Path(config.resume)
            self.done = _earlier(self.directory, self.settings)
            check_directory("--resume", self.directory)
        else:
            check_directory("--result-dir", self.directory.parent)
        self._whole = True  # whether all files could be written
        self._begun = perf_counter() - sum(outcome.seconds for outcome in self.done)
        self._number = len(self.done)

    def probe(self, load: float, requests: int, seed: int) -> Outcome:
        """One run. Raises StopIteration if the user stops the test."""
        begun = perf_counter()
        config, watch = self._run_config(load, requests, seed), _Overload(load, requests)
        watching = None if self.settings.whole else watch
        try:
            report = self._runs.run(config, watch=watching, quiet=self._number > len(self.done))
            if self._runs.stopping:
                report.settle()
                raise StopIteration
            try:
                self._check(report, load, requests)
            except BenchError:
                report.settle()
                raise
            self._runs.wait_until_idle()
        except Interrupted:
            raise StopIteration from None
        if self._config.model is None:
            self._config = replace(self._config, model=report.config.model)
        self._number += 1
        name = f"probes/{self._number:02d}-{load:g}.json"
        outcome = self._outcome(report, load, seed, watch.overloaded)
        outcome = replace(outcome, seconds=perf_counter() - begun, file=name)
        keys = {"load": load, "seed": seed, "overloaded": watch.overloaded}
        document = {**report.document, "capacity_probe": keys}
        self._write(name, partial(write_result, document, append=False))
        report.settle()
        say(_line(self._number, outcome, self.settings))
        return outcome

    def _check(self, report: Report, load: float, wanted: int) -> None:
        """Raises ConfigError if --no-oversample leaves fewer requests than a probe needs, and
        SetupError if a server is gone, which says nothing about the load.
        """
        facts, config = report.figures.facts, self._config
        from_file = dataset_info(config.dataset_name).path != "none"
        there = len(facts.columns) + facts.unsent
        if config.no_oversample and from_file and there < wanted:
            raise ConfigError(
                f"--dataset-name: the dataset has {there} requests, but a probe at {load:g} needs "
                f"{wanted}; remove --no-oversample"
            )
        if server := _gone(facts.columns, config):
            kept = (self.directory / "capacity.json").exists()
            raise SetupError(
                f"no connection to {server} at the end of the probe at {load:g}; restart it"
                + (f" and continue with --resume {self.directory}" if kept else "")
            )

    def _run_config(self, load: float, requests: int, seed: int) -> RunConfig:
        config = replace(
            self._config,
            num_prompts=requests,
            seed=self._config.seed if self._config.same_prompts else seed,
            arrival_seed=seed,
            disable_tqdm=self._config.disable_tqdm or self._number > len(self.done),
        )
        if self._number > len(self.done):  # the server has already responded
            config = replace(config, ready_check_timeout_sec=0.0, num_warmups=0)
        if self.settings.whole:
            return replace(config, max_concurrency=int(load), request_rate=math.inf)
        return replace(config, request_rate=load)

    def _outcome(self, report: Report, load: float, seed: int, overloaded: bool) -> Outcome:
        columns, summary = report.figures.facts.columns, report.summary
        start = columns.floats["start_time"]
        end = np.where(columns.success, columns.floats["end_time"], np.nan)
        rows = steady_window(start, end) & ~columns.cancelled
        throughput, saturated = completion_rate(start, end)
        found, total = summary.latencies, max(1, int(rows.sum()))
        misses = {
            name: 1 - float((good(found, {name: limit}) & rows).sum()) / total
            for name, limit in self._config.goodput.items()
        }
        latency = summary.distributions.get("e2el")
        latency_s = latency.mean / 1000 if latency is not None else 0.0
        audit = report.audit or {}
        units = objectives.units(self._objectives, load, columns, summary, rows)
        return Outcome(
            load=load,
            units=tuple(
                unit._replace(
                    crowding=self._crowding(columns, rows, load, latency_s, o.goal),
                    in_flight=0.0 if self.settings.whole else load * latency_s,
                )
                for unit, o in zip(units, self._objectives, strict=True)
            ),
            requests=len(columns),
            seconds=summary.duration_s,
            latency_s=latency_s,
            throughput=throughput,
            seed=seed,
            overloaded=overloaded,
            saturated=saturated and self._by_rate(columns),
            problem="; ".join(audit["reasons"]) if audit.get("client_limited") else "",
            advice=audit.get("hint", ""),
            misses=misses,
        )

    def _crowding(
        self,
        columns: RecordColumns,
        rows: NDArray[np.bool_],
        load: float,
        latency_s: float,
        goal: Goal,
    ) -> float:
        if goal.share is None or not self._by_rate(columns):
            return 0.0
        due = columns.floats["due_time"]
        order = np.argsort(due, kind="stable")
        gamma = (load, self._config.burstiness)
        return crowding(due[order], rows[order], gamma, latency_s, goal.share)

    def _by_rate(self, columns: RecordColumns) -> bool:
        """Not if the server's responses determine the arrivals: users, turns of a conversation."""
        return not self.settings.whole and not np.any(columns.ints["turn"] > 0)

    def publish(self, answer: Answer, *, going_on: bool = True) -> None:
        """Save the results so far, for the page and for --resume."""
        document = json_value(as_dict(answer))
        data = json.dumps(document, indent=2).encode() + b"\n"
        self._write("capacity.json", partial(write_whole, data=data))
        self._runs.show({**document, "text": text(answer), "going_on": going_on})

    def finish(self, answer: Answer) -> None:
        from llmbench_locust.experiments.report import capacity_page

        if not answer.probes and not answer.invalid:
            return
        self.publish(answer, going_on=False)
        page = capacity_page(json_value(as_dict(answer)), text(answer))
        self._write("report.html", partial(write_whole, data=page.encode()))
        say(f"\n{text(answer)}")
        say(spent(answer, perf_counter() - self._begun))
        if self._whole:
            say(f"Wrote {self.directory}/{{capacity.json,probes/,report.html}}")
        # Not Locust's: requests that failed under too high a load are a part of the answer.
        without = {"unknown": 1, "client": CLIENT_LIMITED}
        self._runs.exit_status = without.get(answer.verdict, 0 if self._whole else 1)

    def _write(self, name: str, write: Callable[[Path], None]) -> None:
        """A full disk costs the search no more than the file."""
        try:
            write(self.directory / name)
        except OSError as e:
            self._whole = False
            warn(f"error: {self.directory / name} could not be written: {e.strerror}")


class _Overload:
    """Watches the requests in flight while requests are being sent."""

    def __init__(self, rate: float, requests: int) -> None:
        self.overloaded = False
        self._rate, self._requests = rate, requests
        self._in_flight: list[float] = []

    def __call__(self, run: Progress) -> bool:
        if run.elapsed_s > 0 and run.offered < self._requests:
            self._in_flight.append(float(run.offered - run.completed))
            self.overloaded = grows(np.array(self._in_flight), WATCH_S, self._rate)
        return self.overloaded


def _gone(columns: RecordColumns, config: RunConfig) -> str:
    """The first server that is gone and lost its last requests; "" for none."""
    kinds, servers = columns.texts["error_kind"], columns.texts["server"]
    order = np.argsort(columns.floats["due_time"])
    several = len(config.base_urls) > 1
    for server in replicas_of(config):
        name = without_user(server.base_url) if several else ""
        latest = [kinds[row] for row in order if servers[row] == name][-LAST:]
        if latest and CONNECTION_ERRORS.issuperset(latest) and server.gone():
            return without_user(server.base_url)
    return ""


def _fewest(config: RunConfig) -> int:
    """The minimum number of requests that the dataset makes."""
    flag = config.dataset.fewest_flag
    return int(getattr(config, flag)) if flag else 1


def _check_flags(config: RunConfig) -> None:
    """Raises ConfigError for flags that the search sets itself or does not support."""
    runs = ", which sizes its own runs"
    files = ", which writes report.html and a result for each probe"
    for name, given, why in (
        ("--ramp-up-strategy", config.ramp_up_strategy is not None, runs),
        ("--request-rate", config.request_rate != math.inf, runs),
        ("--max-concurrency", config.search == "max-concurrency" and config.max_concurrency, runs),
        ("--concurrent-sessions", config.concurrent_sessions is not None, runs),
        ("--user-rate", config.user_rate_s is not None, runs),
        ("--num-sessions", config.num_sessions is not None, runs),
        ("--duration", config.duration_s is not None, runs),
        ("--run-time", config.run_time_s is not None, runs),
        ("--repeat", config.repeat > 1, runs),
        ("--check", config.check, "; use --slo for the conditions that each load must meet"),
        ("--per-request", config.per_request, files),
        ("--html, under locust -f --llm-html", config.llm_html, files),
    ):
        if given:
            raise ConfigError(f"{name}: cannot be used with --capacity{why}")


def _earlier(directory: Path, settings: Settings) -> list[Outcome]:
    """The probes of ``directory``. Raises ConfigError if they are from a different search."""
    path = directory / "capacity.json"
    try:
        document = json.loads(path.read_text())
        goals = tuple(Goal(**goal) for goal in document["goals"])
        whole = document["settings"]["whole"]
        done = outcomes_of(document)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as e:
        raise ConfigError(f"--resume: {path} is not a capacity.json: {e}") from None
    if (goals, whole) != (settings.goals, settings.whole):
        search = "max-concurrency" if whole else "request-rate"
        shown = ", ".join(f"{g.name} ({'mean' if g.share is None else g.share})" for g in goals)
        raise ConfigError(f"--resume: {path} is from another search: --search {search}, {shown}")
    return done


def _line(number: int, outcome: Outcome, settings: Settings) -> str:
    unit = "users" if settings.whole else "req/s"
    words = []
    for goal, found in zip(settings.goals, outcome.units, strict=True):
        if goal.share is None:
            words.append(f"{goal.name}: {found.value:.0%} of the limit")
        elif found.weight:
            words.append(f"{found.value / found.weight:.2%} meet {goal.name}")
    if outcome.overloaded:
        words.insert(0, "overloaded, ended early")
    if outcome.problem:
        words.insert(0, f"not counted: {outcome.problem}")
    return (
        f"Probe {number:>2}: {short(outcome.load, 3):>8} {unit}, {outcome.requests:>6,} requests, "
        f"{outcome.seconds:4.0f} s  {', '.join(words)}"
    )
