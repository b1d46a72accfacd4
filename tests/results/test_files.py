"""Files: written whole or not at all, appended as vLLM appends, named by its rule, strict JSON
whatever is in them.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from llmbench_locust.json_values import json_value
from llmbench_locust.results.files import (
    pytorch_records,
    result_path,
    write_result,
    write_whole,
)
from tests.metrics.rows import row

from .runs import WHEN, config, run


def strict(text):
    def refuse(word):
        raise AssertionError(word)

    return json.loads(text, parse_constant=refuse)


def test_what_is_read_is_what_was_written(tmp_path):
    *_, document = run()
    write_result(document, tmp_path / "new" / "r.json", append=False)
    assert strict((tmp_path / "new/r.json").read_text()) == json.loads(json.dumps(document))
    assert os.listdir(tmp_path / "new") == ["r.json"]


def test_not_a_number_is_null_and_infinity_a_word():
    assert json_value({"a": float("nan"), "b": [float("inf"), -float("inf")], 3: (1.5,)}) == {
        "a": None,
        "b": ["inf", "-inf"],
        "3": [1.5],
    }


def test_half_a_character_in_an_answer_does_not_lose_the_file(tmp_path):
    *_, document = run(row(0, text="\ud83d and é"))
    write_result(document, tmp_path / "r.json", append=False)
    assert strict((tmp_path / "r.json").read_text(encoding="utf-8"))["generated_texts"] == [
        "\ud83d and é"
    ]


def test_each_run_is_a_line(tmp_path):
    *_, document = run()
    path = tmp_path / "all.json"
    for n in range(3):
        write_result(document | {"num_prompts": n}, path, append=True)
    assert [strict(line)["num_prompts"] for line in path.read_text().split("\n")] == [0, 1, 2]
    # vLLM's own line after ours: it puts a newline first, and none at the end.
    with path.open("a+") as file:
        file.write("\n" + json.dumps({"num_prompts": 3}))
    write_result(document | {"num_prompts": 4}, path, append=True)
    assert [strict(line)["num_prompts"] for line in path.read_text().split("\n")] == [0, 1, 2, 3, 4]


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "r.json"
    path.write_text("old")
    with pytest.raises(TypeError):
        write_whole(path, "not bytes")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["r.json"]


def test_nobody_ever_reads_half_a_file(tmp_path):
    path, contents = tmp_path / "r.json", {b"a" * 300_000, b"b" * 300_000}
    code = (
        "import sys, pathlib\n"
        "from llmbench_locust.results.files import write_whole\n"
        "for i in range(100): write_whole(pathlib.Path(sys.argv[1]), (b'a', b'b')[i % 2] * 300_000)"
    )
    write_whole(path, b"a" * 300_000)
    seen = set()
    with subprocess.Popen([sys.executable, "-c", code, str(path)]) as writer:
        while writer.poll() is None:
            seen.add(path.read_bytes())
    assert writer.returncode == 0
    assert seen <= contents
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def test_a_file_that_ends_with_a_newline_gets_no_empty_line(tmp_path):
    path = tmp_path / "all.json"
    path.write_text('{"old": 1}\n')
    *_, document = run(detailed=False)
    write_result(document, path, append=True)
    lines = path.read_text().split("\n")
    assert [next(iter(strict(line))) for line in lines] == ["old", "date"]
    path.write_text("")
    write_result(document, path, append=True)
    assert strict(path.read_text())["completed"] == 2


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({}, "openai-2.0qps-tiny-20261124-034201.json"),
        ({"label": "mine", "request_rate": float("inf")}, "mine-infqps-tiny-20261124-034201.json"),
        ({"max_concurrency": 8}, "openai-2.0qps-concurrency8-tiny-20261124-034201.json"),
        (
            {"request_rate": 0.25, "model": "/models/llama/"},
            "openai-0.25qps-llama-20261124-034201.json",
        ),
        ({"result_filename": "x.json", "result_dir": "d"}, "d/x.json"),
        ({"model": "..\\evil\0\n\x1b"}, "openai-2.0qps-.._evil___-20261124-034201.json"),
        ({"model": "m" * 300}, f"openai-2.0qps-{'m' * 100}-20261124-034201.json"),
        (
            {
                "ramp_up_strategy": "exponential",
                "ramp_up_start_rps": 1.0,
                "ramp_up_end_rps": 2.5,
                "max_concurrency": 3,
            },
            "openai-ramp-up-exponential-1qps-2.5qps-concurrency3-tiny-20261124-034201.json",
        ),
    ],
)
def test_names(more, name):
    assert str(result_path(config(**more), WHEN)) == name


def test_pytorchs_format(tmp_path, monkeypatch):
    *_, document = run(given=config(metadata={"tensor_parallel_size": "2"}))
    path = tmp_path / "r.json"
    monkeypatch.delenv("SAVE_TO_PYTORCH_BENCHMARK_FORMAT", raising=False)
    write_result(document, path, append=False)
    assert os.listdir(tmp_path) == ["r.json"]
    monkeypatch.setenv("SAVE_TO_PYTORCH_BENCHMARK_FORMAT", "1")
    arguments = {"model": "org/tiny", "header": {"x": "***"}, "request_rate": float("inf")}
    write_result(document, path, append=False, arguments=arguments)
    records = strict((tmp_path / "r.pytorch.json").read_text())
    by_name = {r["metric"]["name"]: r for r in records}
    assert set(by_name) == {
        f"{s}_{m}_ms" for m in ("ttft", "tpot", "itl") for s in ("mean", "median", "std", "p99")
    }
    one = by_name["p99_ttft_ms"]
    assert one["metric"]["benchmark_values"] == [document["p99_ttft_ms"]]
    assert one["model"] == {"name": "org/tiny"}
    assert one["benchmark"]["name"] == "vLLM benchmark"
    about = one["benchmark"]["extra_info"]
    assert about["args"] == arguments | {"request_rate": "inf", "tensor_parallel_size": "2"}
    assert (about["use_compile"], about["compilation_config.mode"]) == (True, "")
    assert one["metric"]["extra_info"]["completed"] == 2
    assert not {"ttfts", "itls", "generated_texts", "errors", "mean_ttft_ms"} & set(
        one["metric"]["extra_info"]
    )


def test_pytorchs_format_holds_what_json_can_hold():
    records = pytorch_records({"mean_ttft_ms": 1.0}, {"odd": np.float64, "rate": 2})
    assert isinstance(records[0]["benchmark"]["extra_info"]["args"]["odd"], str)
