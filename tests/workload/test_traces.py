"""Traces: lengths, times and shared prefixes come out as they went in."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from llmbench_locust.errors import ConfigError
from llmbench_locust.workload import csv_trace, timed_trace
from llmbench_locust.workload.tokenizers import FastTokenizer
from tests.workload.common import config, write_jsonl
from tests.workload.test_local_tokenizers import LINES, byte_level, word_pieces


def flags(path, *more):
    return config("--dataset-name", "timed_trace", "--dataset-path", path, *more)


def common(a, b):
    n = 0
    while n < min(len(a), len(b)) and a[n] == b[n]:
        n += 1
    return n


TRACE = [
    {"timestamp": 1000, "input_length": 40, "output_length": 3, "hash_ids": [1, 2, 3]},
    {"timestamp": 1500, "input_length": 37, "output_length": 4, "hash_ids": [1, 2, 4]},
    {"timestamp": 4000, "input_length": 16, "output_length": 5, "hash_ids": [1]},
    {"timestamp": 4250, "input_length": 20, "output_length": 6, "hash_ids": [5, 1]},
    {"timestamp": 4250, "input_length": 24, "output_length": 7},
]


def test_lengths_times_and_ids(tmp_path, tokenizer):
    path = write_jsonl(tmp_path / "t.jsonl", TRACE)
    got = timed_trace.load(
        flags(path, "--timed-trace-sec-multiplier", 0.001, "--trace-speedup", 2), tokenizer
    )
    assert [s.due_s for s in got] == [1.0, 1.5, 4.0, 4.25, 4.25]  # the speedup is for the arrivals
    assert [(len(s.prompt), s.prompt_len, s.expected_output_len) for s in got] == [
        (r["input_length"], r["input_length"], r["output_length"]) for r in TRACE
    ]
    assert [s.request_id for s in got] == [f"g-{i}" for i in range(5)]
    assert not set(tokenizer.all_special_ids) & {t for s in got for t in s.prompt}
    assert len(timed_trace.load(flags(path, "--num-prompts", 2), tokenizer)) == 2


def test_prefixes_are_shared_as_the_hash_ids_say(tmp_path, tokenizer):
    got = timed_trace.load(flags(write_jsonl(tmp_path / "t.jsonl", TRACE)), tokenizer)
    a, b, c, d, e = (s.prompt for s in got)
    assert common(a, b) == 32
    assert common(a, c) == 16
    assert d[16:] == a[:4]
    assert [common(a, d), common(a, e), common(d, e)] == [0, 0, 0]


@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 5), max_size=4), st.integers(1, 16)),
        min_size=2,
        max_size=6,
    ),
    st.sampled_from([1, 3, 4]),
)
@settings(deadline=None, max_examples=40)
def test_common_tokens_are_the_common_blocks(tokenizer, rows, size):
    blocks = timed_trace.Blocks(tokenizer, size, 0, as_text=False)
    prompts = [
        blocks.prompt(list(hashes), length, own=f"r{i}") for i, (hashes, length) in enumerate(rows)
    ]
    for i, (one, one_len) in enumerate(rows):
        assert len(prompts[i]) == one_len
        for j in range(i):
            other, other_len = rows[j]
            shared = min(common(one, other) * size, one_len, other_len)
            assert common(prompts[i], prompts[j]) == shared


def test_no_two_blocks_begin_alike(tokenizer):
    blocks = timed_trace.Blocks(tokenizer, 4, 0, as_text=False)
    firsts = {blocks.prompt([h], 4, own="")[0] for h in range(3000)}
    assert len(firsts) == 3000  # of 4096 tokens


def test_seed_and_place_decide_nothing_but_the_seed(tmp_path, tokenizer):
    path = write_jsonl(tmp_path / "t.jsonl", TRACE)
    one, again, other = (timed_trace.load(flags(path, "--seed", s), tokenizer) for s in (1, 1, 2))
    assert [s.prompt for s in one] == [s.prompt for s in again]
    assert one[0].prompt != other[0].prompt


def test_chat_gets_text_that_shares_as_much(tmp_path, tokenizer):
    path = write_jsonl(tmp_path / "t.jsonl", TRACE)
    got = timed_trace.load(flags(path, "--backend", "openai-chat"), tokenizer)
    a, b, c, d, _ = (s.prompt for s in got)
    assert a.startswith(c)
    assert common(a, b) >= len(c)
    assert all(
        isinstance(s.prompt, str) and s.prompt_len == len(tokenizer.encode(s.prompt)) for s in got
    )
    assert [s.prompt_len for s in got] == [row["input_length"] for row in TRACE]
    assert d != a


def sentence_pieces():
    """As Llama 2: no token reaches over a space, and each text begins with one."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    made.train_from_iterator(LINES, trainers.BpeTrainer(vocab_size=800, special_tokens=[]))
    return made


@pytest.mark.parametrize("make", [byte_level, sentence_pieces, word_pieces])
def test_text_has_as_many_tokens_as_the_trace_says(make):
    """Whatever stands beside a block, and wherever it is cut."""
    tokenizer = FastTokenizer(make(), {}, None, "made")
    blocks = timed_trace.Blocks(tokenizer, 64, 0, as_text=True)
    rows = [([1, 2, 3], 192), ([1, 2, 4], 150), ([3, 2], 128), ([5], 100), ([], 33), ([1], 1)]
    texts = [blocks.prompt(hashes, length, own=str(length)) for hashes, length in rows]
    ids = tokenizer.encode_batch(texts)
    assert [len(i) for i in ids] == [length for _, length in rows]
    assert ids[0][:128] == ids[1][:128]
    assert ids[2][64:] == ids[0][64:128]


def test_without_words_text_comes_from_any_token():
    made = Tokenizer(models.WordLevel({"<unk>": 0, "1": 1, "2": 2}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    text = timed_trace.Blocks(FastTokenizer(made, {}, None, "made"), 4, 0, as_text=True).prompt(
        [1, 2], 8, ""
    )
    assert set(text) <= set("<unk>12 ")


def test_labels_chunks_and_no_times(tmp_path, tokenizer):
    rows = [{"t": 2.5, "in": 6, "out": 1, "h": ["x", "y"]}, {"t": 3, "in": 4, "out": 1, "h": ["x"]}]
    labels = [f for a, b in [("timestamp", "t"), ("input-length", "in"), ("output-length", "out"),
    ("hash-ids", "h")]
              for f in (f"--timed-trace-label-{a}", b)]  # fmt: skip
    path = write_jsonl(tmp_path / "t.jsonl", rows)
    labels += ["--timed-trace-chunk-hash-size", 4]
    got = timed_trace.load(flags(path, *labels), tokenizer)
    assert [s.due_s for s in got] == [2.5, 3.0]
    assert got[0].prompt[:4] == got[1].prompt
    untimed = timed_trace.load(flags(path, *labels, "--no-self-timed"), tokenizer)
    assert [s.due_s for s in untimed] == [None, None]


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (
            {"input_length": 1, "output_length": 1},
            r"line 2: 'timestamp' is missing \(there are 'input_length', 'output_length'\)",
        ),
        (
            {"timestamp": "x", "input_length": 1, "output_length": 1},
            r"line 2: 'timestamp' is 'x'; it must be a number",
        ),
        (
            {"timestamp": 1, "output_length": 1},
            r"'input_length' is missing .*--timed-trace-label-input-length",
        ),
        (
            {"timestamp": 1, "input_length": 1, "output_length": 0},
            r"'output_length' is 0; it must be a whole number from 1 to 100000000",
        ),
        ({"timestamp": 1, "input_length": 1.5, "output_length": 1}, r"'input_length' is 1.5"),
        (
            {"timestamp": 1, "input_length": 1, "output_length": 1, "hash_ids": 3},
            r"'hash_ids' is not a list",
        ),
    ],
)
def test_a_bad_line_is_named(tmp_path, tokenizer, row, line):
    path = write_jsonl(tmp_path / "t.jsonl", [TRACE[0], row])
    with pytest.raises(ConfigError, match=line):
        timed_trace.load(flags(path), tokenizer)


BURST = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
31.5,GPT-4,20,5,25,Conversation log
8.25,GPT-4,10,4,14,Conversation log
12.5,ChatGPT,838,10,848,Conversation log
40,GPT-4,9,0,9,API log
"""
AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.0319600,110,27
2024-05-10 00:00:00.009930+00:00,7,3
"""


def test_burstgpt_by_its_times(tmp_path, tokenizer):
    (tmp_path / "b.csv").write_text(BURST)
    argv = ("--dataset-name", "burstgpt", "--dataset-path", tmp_path / "b.csv")
    got = csv_trace.load(config(*argv, "--self-timed"), tokenizer)
    assert [(s.due_s, s.prompt_len, s.expected_output_len) for s in got] == [
        (8.25, 10, 4),
        (31.5, 20, 5),
    ]
    assert got[1].prompt == tokenizer.decode(list(range(1, 21)))


def test_azure_s_times_are_dates(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setenv(
        "TZ", "America/New_York"
    )  # dates without a zone are UTC, wherever the client stands
    time.tzset()
    (tmp_path / "a.csv").write_text(AZURE)
    argv = ("--dataset-name", "azure", "--dataset-path", tmp_path / "a.csv", "--num-prompts", 2)
    got = csv_trace.load(config(*argv, "--self-timed"), tokenizer)
    start = datetime(2023, 11, 16, 18, 17, 3, 979960, tzinfo=UTC)
    assert [s.due_s for s in got] == [
        start.timestamp(),
        (start + timedelta(microseconds=52000)).timestamp(),
    ]
    assert [(s.prompt_len, s.expected_output_len) for s in got] == [(4808, 10), (110, 27)]
    rows = csv_trace.read_rows(str(tmp_path / "a.csv"))
    assert rows[2].time_s == datetime(2024, 5, 10, 0, 0, 0, 9930, tzinfo=UTC).timestamp()
    monkeypatch.undo()
    time.tzset()


def test_a_trace_without_times_is_repeated_one_with_times_is_not(tmp_path, tokenizer):
    (tmp_path / "a.csv").write_text(AZURE)
    argv = ("--dataset-name", "azure", "--dataset-path", tmp_path / "a.csv", "--num-prompts", 9)
    got = csv_trace.load(config(*argv), tokenizer)
    assert len(got) == 9
    assert {s.due_s for s in got} == {None}
    assert len(csv_trace.load(config(*argv, "--self-timed"), tokenizer)) == 3


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", r"is empty"),
        ("a,b\n1,2\n", r"has no column 'TIMESTAMP' or .*; it has 'a', 'b'"),
        (
            "TIMESTAMP,ContextTokens,GeneratedTokens\n1,2,x\n",
            r"line 2: 'GeneratedTokens' is 'x'; it must be a whole number",
        ),
        (
            "TIMESTAMP,ContextTokens,GeneratedTokens\n1,2,3\nsoon,2,3\n",
            r"line 3: 'TIMESTAMP' is 'soon'",
        ),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n1,2\n", r"line 2: 'GeneratedTokens' is ''"),
        (
            "TIMESTAMP,ContextTokens,GeneratedTokens\n1,2,0\n",
            r"has no row with input and output tokens",
        ),
    ],
)
def test_a_bad_csv_is_one_line(tmp_path, tokenizer, text, line):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ConfigError, match=line):
        csv_trace.load(
            config("--dataset-name", "azure", "--dataset-path", tmp_path / "a.csv"), tokenizer
        )
