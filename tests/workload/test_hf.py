"""Each known dataset's layout becomes requests; files are tiny copies in that layout, read through
the datasets library.
"""

import base64
import io

import datasets
import numpy as np
import pytest
import soundfile
from PIL import Image

from llmbench_locust.errors import ConfigError
from llmbench_locust.workload.hf.loader import load
from llmbench_locust.workload.hf.table import ADAPTERS
from llmbench_locust.workload.hf.tools import json_schema
from tests.workload.common import config, write_jsonl

LONG = "the model reads a long line and then it writes a short answer"
RED = Image.new("RGB", (4, 3), (250, 10, 10))


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def flags(path, name, *more):
    named = ("--hf-name", name) if name else ()
    return config(
        "--dataset-name",
        "hf",
        "--dataset-path",
        path,
        *named,
        "--disable-shuffle",
        "--no-oversample",
        *more,
    )


def templated(tokenizer, text):
    return tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], add_generation_prompt=True
    )


def parquet(path, columns, **features):
    data = datasets.Dataset.from_dict(columns)
    for name, feature in features.items():
        data = data.cast_column(name, feature)
    data.to_parquet(str(path))
    return path


def data_url(image):
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, format="JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


QUESTIONS = [
    (
        "likaixin/InstructCoder",
        {"input": "x = 1", "instruction": "Rename x."},
        200,
        "x = 1\n\nRename x. Just output the code, do not include any explanation.",
    ),
    (
        "philschmid/mt-bench",
        {"turns": ["What now?", "And then?"], "category": "c"},
        256,
        "What now?",
    ),
    ("openai/openai_humaneval", {"prompt": "def f():\n", "task_id": "1"}, 256, "def f():\n"),
    ("openai/gsm8k", {"question": "1 + 1?", "answer": "2"}, 256, "1 + 1?"),
    (
        "vdaita/edit_5k_char",
        {"code": "x = 1", "change_request": "Double it.", "norm_distance": 0.3},
        4000,
        "Given a code file, please apply the change requests and generate the new "
        "file.\n\nOriginal file:\n```python\nx = 1\n"
        '```\n\nChange request:\nDouble it.\n\nPlease generate the new code file in the "New '
        'file" section below.',
    ),
]


@pytest.mark.parametrize(
    ("name", "row", "output_len", "prompt"), QUESTIONS, ids=[q[0] for q in QUESTIONS]
)
@pytest.mark.parametrize("stream", [(), ("--no-stream",)], ids=["stream", "whole"])
def test_one_question_in_the_chat_template(
    tmp_path, tokenizer, name, row, output_len, prompt, stream
):
    path = write_jsonl(tmp_path / "rows.jsonl", [row, row])
    got = load(flags(path, name, *stream), tokenizer)
    assert [s.prompt for s in got] == [templated(tokenizer, prompt)] * 2
    assert [s.request_id for s in got] == ["g-0", "g-1"]
    assert {s.expected_output_len for s in got} == {output_len}
    assert got[0].prompt_len == len(tokenizer.encode(got[0].prompt))
    plain = load(
        flags(
            path, name, "--skip-chat-template", "--hf-output-len", 9, "--num-prompts", 1, *stream
        ),
        tokenizer,
    )
    assert [(s.prompt, s.expected_output_len) for s in plain] == [(prompt, 9)]


def test_blazedit_keeps_distances_between_the_bounds(tmp_path, tokenizer):
    rows = [
        {"code": str(d), "change_request": "c", "norm_distance": d} for d in (0.1, 0.2, 0.3, 0.4)
    ]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    bounds = ("--blazedit-min-distance", 0.2, "--blazedit-max-distance", 0.3)
    got = load(flags(path, "vdaita/edit_10k_char", *bounds), tokenizer)
    assert [s.request_id for s in got] == ["g-1", "g-2"]  # ids count rows
    with pytest.raises(ConfigError, match=r"no row of .* is left after filtering"):
        load(flags(path, "vdaita/edit_10k_char", "--blazedit-min-distance", 0.9), tokenizer)


def test_repeated_samples_get_ids_of_their_own(tmp_path, tokenizer):
    rows = [{"code": str(d), "change_request": "c", "norm_distance": d} for d in (0.1, 0.2, 0.3)]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    argv = (
        "--dataset-name",
        "hf",
        "--dataset-path",
        path,
        "--hf-name",
        "vdaita/edit_5k_char",
        "--num-prompts",
        7,
    )
    got = load(config(*argv, "--blazedit-min-distance", 0.2), tokenizer)
    assert len({s.request_id for s in got}) == len(got) == 7


def test_aimo_takes_the_solution_s_length(tmp_path, tokenizer):
    rows = [{"problem": LONG, "solution": LONG + LONG}, {"problem": "hi", "solution": LONG}]
    got = load(flags(write_jsonl(tmp_path / "rows.jsonl", rows), "AI-MO/NuminaMath-CoT"), tokenizer)
    assert [(s.prompt, s.prompt_len) for s in got] == [(LONG, len(tokenizer.encode(LONG)))]
    assert got[0].expected_output_len == len(tokenizer.encode(LONG + LONG))


def test_next_edit_counts_the_editable_region(tmp_path, tokenizer):
    region = "<|editable_region_start|>\nx = 2"
    row = {"events": "User edited x", "input": "x = 1", "output": "```x.py\n" + region}
    got = load(flags(write_jsonl(tmp_path / "rows.jsonl", [row]), "zed-industries/zeta"), tokenizer)
    assert got[0].expected_output_len == len(tokenizer.encode(region))
    assert got[0].prompt.endswith(
        "### User Edits:\n\nUser edited x\n\n### User Excerpt:\n\nx = 1\n\n### Response:\n\n"
    )


def test_mlperf_has_a_system_prompt_and_the_answer_s_length(tmp_path, tokenizer):
    row = {"system_prompt": "Be brief.", "question": LONG, "output": LONG}
    got = load(
        flags(write_jsonl(tmp_path / "rows.jsonl", [row]), "mgoin/mlperf-inference-llama2-data"),
        tokenizer,
    )
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": LONG}]
    assert got[0].prompt == tokenizer.apply_chat_template(messages, add_generation_prompt=True)
    assert got[0].expected_output_len == len(tokenizer.encode(LONG, add_special_tokens=False))


def test_conversation_is_the_first_question(tmp_path, tokenizer):
    short = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": LONG}]
    good = [
        {"from": "human", "value": LONG},
        {"from": "gpt", "value": LONG + LONG},
        {"from": "human", "value": "?"},
    ]
    path = write_jsonl(
        tmp_path / "rows.jsonl", [{"conversations": c} for c in (short, good[:1], good)]
    )
    got = load(flags(path, "Aeala/ShareGPT_Vicuna_unfiltered"), tokenizer)
    assert [(s.prompt, s.multi_modal) for s in got] == [(LONG, None)]
    assert got[0].expected_output_len == len(tokenizer.encode(LONG + LONG))
    every = load(flags(path, "Aeala/ShareGPT_Vicuna_unfiltered", "--hf-output-len", 5), tokenizer)
    assert [s.prompt for s in every] == ["hi", LONG]


MM = ("--backend", "openai-chat")


def test_images_are_jpeg_data_urls(tmp_path, tokenizer):
    said = [{"from": "human", "value": LONG}, {"from": "gpt", "value": LONG}]
    path = parquet(
        tmp_path / "a.parquet", {"conversations": [said], "image": [RED]}, image=datasets.Image()
    )
    image = {"type": "image_url", "image_url": {"url": data_url(RED)}}
    (sample,) = load(flags(path, "lmms-lab/LLaVA-OneVision-Data", *MM), tokenizer)
    assert (sample.prompt, sample.multi_modal) == (LONG, image)
    (sample,) = load(
        flags(path, "lmms-lab/LLaVA-OneVision-Data", *MM, "--enable-multimodal-chat"), tokenizer
    )
    assert sample.chat_messages == [
        {"role": "user", "content": [{"text": LONG, "type": "text"}, image]}
    ]
    assert sample.multi_modal is None

    question = "Which?\nOptions: A: red, B: blue"
    path = parquet(
        tmp_path / "b.parquet", {"question": [question], "image": [RED]}, image=datasets.Image()
    )
    (sample,) = load(flags(path, "Lin-Chen/MMStar", *MM), tokenizer)
    assert (sample.prompt, sample.multi_modal, sample.expected_output_len) == ("Which?", image, 128)

    for name, column in [
        ("VisionArena-Chat", "conversation"),
        ("vision-arena-bench-v0.1", "turns"),
    ]:
        columns = {column: [[[{"role": "user", "content": LONG}]]], "images": [[RED]]}
        path = parquet(
            tmp_path / f"{name}.parquet", columns, images=datasets.List(datasets.Image())
        )
        (sample,) = load(flags(path, f"lmarena-ai/{name}", *MM), tokenizer)
        assert (sample.prompt, sample.multi_modal, sample.expected_output_len) == (LONG, image, 128)


def test_mmvu_videos_are_urls_or_files_of_the_copy(tmp_path, tokenizer):
    hub = "https://huggingface.co/datasets/yale-nlp/MMVU/resolve/main"
    row = {"question": "What?", "choices": {"A": "one", "B": "two"}, "video": f"{hub}/videos/1.mp4"}
    path = write_jsonl(tmp_path / "validation.jsonl", [row])
    (sample,) = load(flags(path, "yale-nlp/MMVU", *MM), tokenizer)
    assert sample.prompt == "What? A.one B.two"
    assert sample.multi_modal == {
        "type": "video_url",
        "video_url": {"url": f"file://{tmp_path}/videos/1.mp4"},
    }


def test_speech_goes_as_a_file_or_as_a_part(tmp_path, tokenizer):
    sounds = [np.zeros(800, "float32"), np.full(1600, 0.25, "float32"), np.zeros(32000, "float32")]
    raw = []
    for sound in sounds:
        buffer = io.BytesIO()
        soundfile.write(buffer, sound, 16000, format="FLAC")
        raw.append({"bytes": buffer.getvalue(), "path": "a.flac"})
    path = parquet(
        tmp_path / "a.parquet",
        {"audio": raw, "text": ["a", "b", "c"]},
        audio=datasets.Audio(decode=False),
    )
    bounds = ("--asr-min-audio-len-sec", 0.06, "--asr-max-audio-len-sec", 1)
    (sample,) = load(
        flags(path, "openslr/librispeech_asr", "--backend", "openai-audio", *bounds), tokenizer
    )
    assert sample.multi_modal["duration_s"] == 0.1
    samples, rate = soundfile.read(io.BytesIO(sample.multi_modal["audio"]))
    assert (rate, samples.tolist()) == (16000, [0.25] * 1600)
    assert sample.expected_output_len == 1024
    (sample,) = load(flags(path, "openslr/librispeech_asr", *MM, *bounds), tokenizer)
    part = sample.multi_modal["input_audio"]
    assert part["format"] == "wav"
    assert soundfile.info(io.BytesIO(base64.b64decode(part["data"]))).frames == 1600


def bfcl(tmp_path):
    def function(name):
        return {
            "name": name,
            "parameters": {"type": "dict", "properties": {"x": {"type": "float"}}},
        }

    for category in ("simple", "live_simple", "multiple"):
        rows = [
            {
                "id": f"{category}{i}",
                "question": [[{"role": "user", "content": f"{category} {i}"}]],
                "function": [function("f")],
            }
            for i in range(2)
        ]
        write_jsonl(tmp_path / f"BFCL_v3_{category}.json", rows)
    return flags(
        tmp_path,
        "gorilla-llm/Berkeley-Function-Calling-Leaderboard",
        "--backend",
        "openai-chat",
        "--num-prompts",
        4,
    )


def test_bfcl_takes_categories_in_turn_with_tools(tmp_path, tokenizer):
    got = load(bfcl(tmp_path), tokenizer)
    assert [s.chat_messages[0]["content"] for s in got] == [
        "simple 0",
        "live_simple 0",
        "multiple 0",
        "simple 1",
    ]
    schema = {"type": "object", "properties": {"x": {"type": "number"}}}
    tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
    assert got[0].body_overrides == {"tools": tools, "tool_choice": "auto"}
    assert got[0].expected_output_len == 512


def test_bfcl_s_errors(tmp_path, tokenizer):
    name = "gorilla-llm/Berkeley-Function-Calling-Leaderboard"
    with pytest.raises(ConfigError, match="--bfcl-categories: 'nope' is not a category"):
        load(
            flags(tmp_path, name, "--backend", "openai-chat", "--bfcl-categories", "nope"),
            tokenizer,
        )
    with pytest.raises(ConfigError, match="--backend: BFCL works with openai-chat only"):
        load(flags(tmp_path, name), tokenizer)


def test_bfcl_types_are_renamed_at_any_depth():
    assert json_schema({"a": [{"type": "tuple"}, {"type": "any"}], "type": "integer"}) == {
        "a": [{"type": "array"}, {"type": "string"}],
        "type": "integer",
    }


def test_any_dataset_by_its_columns(tmp_path, tokenizer):
    path = write_jsonl(
        tmp_path / "rows.jsonl",
        [{"q": LONG, "a": "yes it is", "n": 7}, {"q": "", "a": "-", "n": 3}],
    )
    (sample,) = load(flags(path, None, "--hf-prompt-column", "q"), tokenizer)
    assert (sample.prompt, sample.expected_output_len) == (templated(tokenizer, LONG), 256)
    (sample,) = load(
        flags(path, None, "--hf-prompt-column", "q", "--hf-output-column", "a", *MM), tokenizer
    )
    assert (sample.prompt, sample.expected_output_len) == (LONG, len(tokenizer.encode("yes it is")))
    (sample,) = load(
        flags(path, None, "--hf-prompt-column", "q", "--hf-output-column", "n"), tokenizer
    )
    assert sample.expected_output_len == 7


def test_a_column_of_messages_ends_with_the_user_s(tmp_path, tokenizer):
    said = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": LONG},
        {"role": "assistant", "content": "-"},
    ]
    path = parquet(tmp_path / "rows.parquet", {"messages": [said]})
    (sample,) = load(flags(path, None, "--hf-prompt-column", "messages", *MM), tokenizer)
    assert sample.chat_messages == said[:2]
    (sample,) = load(flags(path, None, "--hf-prompt-column", "messages"), tokenizer)
    assert sample.prompt == tokenizer.apply_chat_template(said[:2], add_generation_prompt=True)


def test_folders_splits_and_the_seed(tmp_path, tokenizer):
    for split in ("train", "test"):
        parquet(
            tmp_path / f"{split}-00000-of-00001.parquet",
            {"turns": [[f"{split} {i}"] for i in range(20)]},
        )
    plain = ("--skip-chat-template", "--num-prompts", 20)
    got = load(flags(tmp_path, "philschmid/mt-bench", *plain), tokenizer)
    assert [s.prompt for s in got] == [f"train {i}" for i in range(20)]
    argv = (
        "--dataset-name",
        "hf",
        "--dataset-path",
        tmp_path,
        "--hf-name",
        "philschmid/mt-bench",
        *plain,
        "--seed",
        3,
    )
    shuffled = [
        s.prompt for s in load(config(*argv, "--hf-split", "test", "--no-stream"), tokenizer)
    ]
    expected = datasets.load_dataset(str(tmp_path), split="test").shuffle(seed=3)["turns"]
    assert shuffled == [t[0] for t in expected]
    streamed = [s.prompt for s in load(config(*argv, "--hf-split", "test"), tokenizer)]
    expected = datasets.load_dataset(str(tmp_path), split="test", streaming=True).shuffle(seed=3)
    assert streamed == [r["turns"][0] for r in expected]
    with pytest.raises(ConfigError, match=r"--dataset-path: .* cannot be loaded: .*nope"):
        load(flags(tmp_path, "philschmid/mt-bench", "--hf-split", "nope"), tokenizer)


def test_bad_input_is_one_line(tmp_path, tokenizer):
    path = write_jsonl(tmp_path / "rows.jsonl", [{"x": "y"}])
    with pytest.raises(ConfigError, match="is not a known dataset; give --hf-prompt-column"):
        load(flags(path, None), tokenizer)
    with pytest.raises(
        ConfigError,
        match=r"--dataset-path: row 0 does not have the layout of MT-Bench \(turns\); it has x",
    ):
        load(flags(path, "philschmid/mt-bench"), tokenizer)
    with pytest.raises(ConfigError, match=r"--hf-prompt-column: row 0 does not .*'q'.*; it has x"):
        load(flags(path, None, "--hf-prompt-column", "q"), tokenizer)
    with pytest.raises(ConfigError, match=r"--dataset-path: file not found: '\./none\.jsonl'"):
        load(flags("./none.jsonl", None, "--hf-prompt-column", "q"), tokenizer)
    with pytest.raises(
        ConfigError, match="--backend: openai does not support images, which MMStar holds"
    ):
        load(flags(path, "Lin-Chen/MMStar"), tokenizer)
    with pytest.raises(ConfigError, match="--hf-output-column: only with --hf-prompt-column"):
        load(flags(path, None, "--hf-output-column", "x"), tokenizer)
    with pytest.raises(ConfigError, match="'philschmid/mt-bench' is not in the local cache"):
        load(flags("philschmid/mt-bench", None), tokenizer)
    (tmp_path / "broken.jsonl").write_text('{"q": "a"}\n{"q": \n')
    with pytest.raises(ConfigError, match=r"--dataset-path: .*broken.jsonl"):
        load(flags(tmp_path / "broken.jsonl", None, "--hf-prompt-column", "q"), tokenizer)


def test_the_table_names_each_dataset_once():
    ids = [i for adapter in ADAPTERS for i in adapter.ids]
    assert len(ids) == len(set(ids)) == 27
