"""The table of requests: what is written is read back, by pandas, from both formats."""

import io

import pandas as pd
import pytest

from llmbench_locust.results.requests_table import table_csv, table_parquet
from tests.metrics.rows import failed, row

from .runs import finished

READ = {
    "csv": (table_csv, lambda data: pd.read_csv(io.BytesIO(data), keep_default_na=True)),
    "parquet": (table_parquet, lambda data: pd.read_parquet(io.BytesIO(data))),
}


@pytest.mark.parametrize("form", READ)
def test_read_back(form):
    write, read = READ[form]
    done = finished(
        row(
            0,
            100.5,
            0.25,
            (0.5,),
            due_time=100.0,
            turn=0,
            reasoning_tokens=1,
            label='a "quoted", label\nof two lines',
        ),
        row(1, 101.0, 0.1, (), input_tokens=12),
        failed(2, 102.0, 103.5, error="said Bearer abcdefghijk"),
        origin_s=100.0,
    )
    table = read(write(done))
    assert len(table) == 3
    first, second, third = (table.iloc[i] for i in range(3))
    assert (first["due_s"], first["start_s"], first["end_s"]) == pytest.approx((0.0, 0.5, 1.25))
    assert (first["ttft_ms"], first["e2el_ms"], first["tpot_ms"]) == pytest.approx((250, 750, 500))
    assert (first["output_tokens"], first["token_events"], first["label"]) == (
        2,
        2,
        'a "quoted", label\nof two lines',
    )
    # Missing is missing, never -1 or 0.
    assert pd.isna(second["turn"])
    assert pd.isna(second["tpot_ms"])
    assert pd.isna(first["server_prompt_tokens"])
    assert second["server_prompt_tokens"] == 12
    assert pd.isna(third["status"])
    assert pd.isna(third["ttft_ms"])
    assert (bool(third["success"]), third["error_kind"], third["error"]) == (
        False,
        "http_500",
        "said Bearer ***",
    )


def test_a_broken_character_does_not_lose_the_table():
    done = finished(failed(0, error="\ud83d broke"))
    assert b"broke" in table_csv(done)


def test_a_spreadsheet_finds_no_formula():
    texts = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1"]
    records = [row(i, label=text, request_id=text) for i, text in enumerate(texts)]
    done = finished(*records, failed(5, error="=HYPERLINK(1)"), row(6, label="a=b"))
    table = pd.read_csv(io.BytesIO(table_csv(done)))
    assert table["label"].tolist()[:5] == ["'" + text for text in texts]
    assert table["request_id"].tolist()[:5] == ["'" + text for text in texts]
    assert table["error"][5] == "'=HYPERLINK(1)"
    assert table["label"][6] == "a=b"
    assert table["due_s"].dtype == float
