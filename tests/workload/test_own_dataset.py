"""A dataset of one's own: the example of docs/extending.md, and one that a package brings."""

import re
import sys
from pathlib import Path

import pytest

from llmbench_locust import SampleRequest, datasets
from llmbench_locust.errors import ConfigError
from llmbench_locust.workload.load import load_requests
from tests.commands import SERVE, SMALL, locust
from tests.workload.common import config

DOCS = Path(__file__).parents[2] / "docs/extending.md"


@pytest.fixture
def example():
    code = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.S)[1]
    yield code
    datasets.DATASETS.pop("lines", None)


def package(folder, code, module="own_lines"):
    """What pip leaves of an installed package with our entry point."""
    (folder / f"{module}.py").write_text(code)
    info = folder / f"{module}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[llmbench_locust.datasets]\nlines = {module}:LINES\n")


def test_the_example_of_the_docs(example, tmp_path, tokenizer):
    exec(compile(example, "example", "exec"), {})
    (tmp_path / "x.txt").write_text("one\ntwo words\nthree\n")
    argv = ("--dataset-name", "lines", "--num-prompts", 2, "--output-len", 5)
    samples = load_requests(config(*argv, "--dataset-path", tmp_path / "x.txt"), tokenizer)
    wanted = [(text, len(tokenizer.encode(text))) for text in ("one", "two words")]
    assert samples == [SampleRequest(text, n, 5, f"g-{i}") for i, (text, n) in enumerate(wanted)]
    with pytest.raises(ConfigError, match="--dataset-path: --dataset-name lines needs one"):
        config(*argv)


def test_a_package_brings_one_and_a_run_uses_it(example, tmp_path):
    package(tmp_path, example)
    (tmp_path / "x.txt").write_text("one\ntwo\nthree\n")
    argv = ("--sim", "--dataset-name", "lines", "--dataset-path", tmp_path / "x.txt", *SMALL)
    path = {"PYTHONPATH": f"{SERVE.parent.parent}:{tmp_path}"}
    run = locust(*argv, "--output-len", 4, env=path)
    assert "Successful requests:                     3" in run.stdout, run.stderr
    assert run.returncode == 0
    assert "Total generated tokens:                  12" in run.stdout


def test_the_first_of_two_packages_with_one_name_wins(example, tmp_path, monkeypatch):
    for number, code in enumerate((example, "1 / 0")):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        package(folder, code, module=f"own_lines_{number}")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "0"), *sys.path, str(tmp_path / "1")])
    assert config("--dataset-name", "lines", "--dataset-path", __file__).dataset_name == "lines"


def test_a_package_that_does_not_load_is_one_line(tmp_path, monkeypatch):
    package(tmp_path, "1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    assert "lines" in datasets.dataset_names()
    with pytest.raises(ConfigError, match="'lines' comes from own_lines:LINES, which cannot be"):
        config("--dataset-name", "lines", "--dataset-path", __file__)
