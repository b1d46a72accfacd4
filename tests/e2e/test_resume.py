"""Runs whose processes are killed, and those that go on with them: together each request once."""

import contextlib
import json
import os
import random
import signal
import time
from collections import Counter

import pandas as pd
import pytest
import requests

from llmbench_locust.run.journal import read_journal
from llmbench_locust.simulator.launch import launch
from tests.commands import MOST_S, SMALL, cluster, finish, locust, start, wait_for
from tests.e2e.test_journal import llmbench
from tests.e2e.test_own_tasks import LOCUSTFILE

PROMPTS = 600
#: The simulator needs 1.7 s for them.
FLAGS = ("--num-prompts", PROMPTS, "--max-concurrency", 10, *SMALL, "--journal")
KILLS = [("process", n) for n in range(60)]
KILLS += [(who, n) for who in ("worker", "master") for n in range(20)]
#: The others by hand.
DAILY = (("process", 0), ("worker", 5), ("master", 0))


@pytest.fixture(scope="module")
def sim():
    with launch(["--clock", "fixed", "--ttft-ms", "20", "--itl-ms", "1", "--keep", "1"]) as sim:
        yield sim.url


def kill(process, out, moment_s):
    """The journal, once ``process`` was killed ``moment_s`` after it was begun."""
    [journal] = wait_for(lambda: list(out.glob("*.journal")))
    time.sleep(moment_s)
    with contextlib.suppress(ProcessLookupError):  # it may have ended
        os.killpg(process.pid, signal.SIGKILL)
    return journal


def rows_of(journal):
    """How often each request is in it."""
    rows = Counter()
    read_journal(journal, lambda found: rows.update(found.ints["index"].tolist()), {})
    return rows


def received(sim):
    return requests.get(f"{sim}/sim/stats?requests=0", timeout=MOST_S).json()["received"]


def once(sim, journal, out):
    """`serve --resume` sends the rest: no request twice, none missing."""
    if not journal.stat().st_size:
        return  # nothing was sent
    rows, before = rows_of(journal), received(sim)
    assert max(rows.values(), default=1) == 1
    argv = ("serve", "--resume", journal, "--save-result", "--result-filename", "r.json")
    status, _, err = llmbench(*argv, "--per-request", out / "r.csv", "--result-dir", out, cwd=out)
    if len(rows) == PROMPTS:
        assert (status, f"has all {PROMPTS} requests" in err) == (2, True)
        return
    assert status == 0, err
    found = json.loads((out / "r.json").read_text())
    assert (found["completed"], found["failed"]) == (PROMPTS, 0)
    assert found["llmbench"]["resumed"]["requests"] == len(rows)
    assert received(sim) - before == PROMPTS - len(rows) + 1  # and the ready check
    assert sorted(pd.read_csv(out / "r.csv")["index"]) == list(range(PROMPTS))


@pytest.mark.parametrize(
    ("who", "seed"),
    [pytest.param(*k, marks=[] if k in DAILY else [pytest.mark.by_hand]) for k in KILLS],
)
def test_journal_and_resumed_run_have_each_request_once(who, seed, sim, tmp_path):
    moment_s = random.Random(f"{who}{seed}").uniform(0, 2.5)
    flags = ("--base-url", sim, *FLAGS, "--result-dir", tmp_path)
    if who == "process":
        run = start(*flags)
        journal = kill(run, tmp_path, moment_s)
        run.communicate(timeout=MOST_S)
        once(sim, journal, tmp_path)
        return
    with cluster(2, *flags) as (master, crew, _):
        journal = kill(master if who == "master" else crew[0], tmp_path, moment_s)
        output, _ = master.communicate(timeout=MOST_S)
    if who == "master":
        once(sim, journal, tmp_path)
    else:  # the run goes on
        assert rows_of(journal) == Counter(range(PROMPTS)), output


def test_a_journal_of_another_plan(sim, tmp_path):
    run = start("--base-url", sim, *FLAGS, "--result-dir", tmp_path)
    [journal] = wait_for(lambda: [j for j in tmp_path.glob("*.journal") if j.stat().st_size])
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate(timeout=MOST_S)
    status, _, err = llmbench("serve", "--resume", journal, "--seed", 5, cwd=tmp_path)
    assert (status, "is of another plan" in err, len(err.splitlines())) == (2, True, 1)


def test_a_journal_of_users_with_tasks_of_their_own(sim, tmp_path):
    (tmp_path / "own.py").write_text(LOCUSTFILE.format(user="OpenAIChatUser", call="chat"))
    argv = ("--base-url", sim, *SMALL, "--journal", "--result-dir", tmp_path / "out", "-t", "2s")
    assert locust(*argv, locustfile=tmp_path / "own.py").returncode == 0
    [journal] = (tmp_path / "out").glob("*.journal")
    status, _, err = llmbench("serve", "--resume", journal, cwd=tmp_path)
    assert (status, "a run of unknown length has nothing left to send" in err) == (2, True), err


def test_sessions_of_which_only_first_turns_were_answered(sim, tmp_path):
    chats = ("--backend", "openai-chat", "--multi-turn", "--think-time", 60, "--num-prompts", 4)
    run = start("--base-url", sim, *chats, *SMALL, "--journal", "--result-dir", tmp_path)
    wait_for(lambda: any(rows_of(j) for j in tmp_path.glob("*.journal") if j.stat().st_size))
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate(timeout=MOST_S)
    [journal] = tmp_path.glob("*.journal")
    status, _, err = llmbench("serve", "--resume", journal, cwd=tmp_path)
    assert (status, "a run with sessions cannot go on" in err) == (2, True), err


@pytest.mark.parametrize("by", ["llmbench serve", "locust -f"])
def test_requests_that_ctrl_c_broke_off_are_sent_again(by, sim, tmp_path):
    page = tmp_path / "page.html"
    run = start("--base-url", sim, *FLAGS, "--llm-html", page, "--result-dir", tmp_path)
    wait_for(lambda: any(rows_of(j) for j in tmp_path.glob("*.journal") if j.stat().st_size))
    run.send_signal(signal.SIGINT)
    assert "interrupted" in finish(run)
    [journal] = tmp_path.glob("*.journal")
    journal = journal.rename(tmp_path / "kept")  # what it is called does not matter
    page.unlink()
    argv = ("--resume", journal, "--save-result", "--result-filename", "r.json")
    if by == "locust -f":
        done = locust(*argv)
        status, err = done.returncode, done.stderr
    else:
        status, _, err = llmbench("serve", *argv, cwd=tmp_path)
    assert status == 0, err
    found = json.loads((tmp_path / "r.json").read_text())
    assert (found["completed"], found["failed"]) == (PROMPTS, 0)
    assert page.exists()


def test_a_file_that_is_no_journal_is_refused_before_anything_is_sent(sim, tmp_path):
    (tmp_path / "r.json").write_text("{}")
    before = received(sim)
    argv = ("serve", "--base-url", sim, "--resume", tmp_path / "r.json")
    status, _, err = llmbench(*argv, cwd=tmp_path)
    assert (status, "is not a journal" in err, len(err.splitlines())) == (2, True, 1), err
    assert received(sim) == before
    status, _, err = llmbench("serve", "--resume", cwd=tmp_path)
    assert (status, err) == (2, "llmbench: error: argument --resume: expected one argument\n")
