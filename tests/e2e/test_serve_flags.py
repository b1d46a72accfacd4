"""`llmbench serve`: duration, dry run, checks, and vLLM's newer defaults."""

import subprocess
import sys

import pytest

from tests.commands import MOST_S, environment, result

QUICK = (
    *("--sim", "--tokenizer", "llmbench", "--disable-tqdm"),
    *("--random-input-len", "16", "--random-output-len", "4"),
)


def serve(*argv):
    return subprocess.run(
        [sys.executable, "-m", "llmbench_locust", "serve", *map(str, argv)],
        capture_output=True,
        text=True,
        timeout=MOST_S,
        env=environment(),
        check=False,
    )


def test_a_duration_at_a_rate_is_that_many_requests(tmp_path):
    done = serve(
        *(*QUICK, "--duration", "2s", "--request-rate", 30),
        *("--save-result", "--result-dir", tmp_path),
    )
    assert done.returncode == 0, done.stderr
    assert result(tmp_path)["completed"] == 60


def test_a_duration_under_a_cap_ends_with_the_time(tmp_path):
    done = serve(
        *(*QUICK, "--duration", "2s", "--max-concurrency", 2),
        *("--save-result", "--result-dir", tmp_path),
    )
    assert done.returncode == 0, done.stderr
    found = result(tmp_path)
    assert found["completed"] + found["failed"] == found["num_prompts"] > 0
    assert found["llmbench"]["unsent_requests"] == 0
    assert "never sent" not in done.stdout


def test_a_dry_run_prints_the_plan_and_needs_no_server():
    done = serve(
        *("--dry-run", "--tokenizer", "llmbench", "--base-url", "http://u:pa55@127.0.0.1:9"),
        *("--num-prompts", 50, "--request-rate", 10, "--random-input-len", 16),
        *("--random-output-len", 4, "--disable-tqdm"),
    )
    assert done.returncode == 0, done.stderr
    assert "Requests:             50 to http://***@127.0.0.1:9/v1/completions" in done.stdout
    assert "10.00 req/s, the last after 5.0 s" in done.stdout
    assert "Output tokens:        200 in all, 4 to 4" in done.stdout
    assert '"max_tokens":4' in done.stdout.replace(" ", "")
    assert "Nothing was sent" in done.stdout


@pytest.mark.parametrize(("limit", "word", "status"), [(10_000, "PASS", 0), (0.001, "FAIL", 3)])
def test_a_check_passes_or_fails_with_its_value(limit, word, status):
    done = serve(
        *(*QUICK, "--num-prompts", 6, "--check", f"p99_ttft_ms<={limit}"),
        *("--check", "failed_share<=0.5"),
    )
    assert done.returncode == status, done.stderr
    lines = done.stdout.splitlines()
    assert any(line.startswith(f"{word}  p99_ttft_ms <= ") for line in lines)
    assert any(line.startswith("PASS  failed_share <= 0.5  (0)") for line in lines)


def test_our_lines_follow_vllms_table():
    lines = serve(*QUICK, "--num-prompts", 6, "--goodput", "ttft:1000").stdout.splitlines()
    last_rule = max(i for i, line in enumerate(lines) if line == "=" * 50)
    ours = [i for i, line in enumerate(lines) if "Client" in line or "Objectives" in line]
    assert len(ours) >= 3
    assert min(ours) > last_rule
