"""What a plain run imports: what it does not need costs time before the first request."""

import re
import subprocess
import sys

from tests.commands import MOST_S, SMALL, environment

#: Of a plain run's own imports: nothing of these, ever.
NEVER = {
    "transformers", "datasets", "pandas", "pyarrow", "plotly", "torch", "PIL",
    "huggingface_hub", "tqdm", "yaml", "asyncio.base_events", "llmbench_locust.web.plugin",
    "llmbench_locust.results.html", "llmbench_locust.results.charts", "llmbench_locust.compare",
    "llmbench_locust.experiments.repeat", "llmbench_locust.simulator.server.app", "flask", "jinja2",
    "scipy",
}  # fmt: skip


def test_a_plain_run_imports_only_what_it_needs(tmp_path):
    argv = ("serve", "--sim", "--num-prompts", "60", "--request-rate", "200", *SMALL)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "llmbench_locust", *argv],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=MOST_S,
        env=environment(),
        check=True,
    )
    imported = re.findall(r"^import time:.*\|\s*([\w.]+)$", done.stderr, re.MULTILINE)
    assert "llmbench_locust.plugin" in imported
    assert NEVER.isdisjoint(imported), NEVER.intersection(imported)
    # What the report takes comes later than the prompts: while the server answers the ready check.
    assert imported.index("tokenizers") < imported.index("llmbench_locust.metrics.extended")


def test_the_end_of_a_process_looks_for_no_garbage():
    code = (
        "import atexit, gc\n"
        "atexit.register(lambda: print(len(gc.get_objects())))  # when all else has run\n"
        "import llmbench_locust\n"
        "llmbench_locust.install\n"
        "kept = [[] for _ in range(10_000)]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=MOST_S, check=True
    )
    assert int(done.stdout) < 10_000


def test_a_name_that_is_used_again_and_again_keeps_no_garbage():
    code = (
        "import gc, llmbench_locust\n"
        "llmbench_locust.BackendUser\n"
        "frozen = gc.get_freeze_count()\n"
        "kept = [[] for _ in range(1000)]\n"
        "llmbench_locust.BackendUser\n"
        "assert gc.get_freeze_count() == frozen\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=environment())
