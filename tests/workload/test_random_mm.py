"""random-mm draws what vLLM draws, and items look as their buckets say."""

import base64
import hashlib
import io
import json
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from llmbench_locust.errors import ConfigError
from llmbench_locust.workload.random_mm import ItemPlan, draw_items, item_plan, load, modality, mp4
from tests.workload.common import DATA, config

GOLD = json.loads((DATA / "vllm/random-mm.json").read_text())["runs"]
FLAGS = {
    "prefix_len": "--random-prefix-len",
    "range_ratio": "--random-range-ratio",
    "base_items_per_request": "--random-mm-base-items-per-request",
    "num_mm_items_range_ratio": "--random-mm-num-mm-items-range-ratio",
    "bucket_config": "--random-mm-bucket-config",
    "limit_mm_per_prompt": "--random-mm-limit-mm-per-prompt",
}


def flags(*more):
    base = ("--dataset-name", "random-mm", "--backend", "openai-chat", "--num-prompts", 8)
    return config(*base, "--random-input-len", 40, "--random-output-len", 9, *more)


def image_of(part):
    head, _, data = part["image_url"]["url"].partition(",")
    assert (part["type"], head) == ("image_url", "data:image/jpeg;base64")
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.mark.parametrize("run", GOLD, ids=[str(r["seed"]) for r in GOLD])
def test_the_same_seed_gives_vllm_s_requests(run, tokenizer):
    given_flags = [
        x
        for k, v in run["args"].items()
        for x in (FLAGS[k], json.dumps(v) if isinstance(v, dict) else v)
    ]
    got = load(flags("--seed", run["seed"], *given_flags), tokenizer)
    for sample, wanted in zip(got, run["requests"], strict=True):
        sha = hashlib.sha256(json.dumps(sample.prompt, sort_keys=True).encode()).hexdigest()[:16]
        shown = {
            "prompt_sha": sha,
            "prompt_len": sample.prompt_len,
            "output_len": sample.expected_output_len,
            "request_id": sample.request_id,
            "sizes": [list(image_of(p).size) for p in sample.multi_modal],
        }
        assert shown == wanted


def test_messages_hold_the_images_when_asked(tokenizer):
    small = ("--random-mm-bucket-config", '{"(8, 16, 1)": 1}', "--num-prompts", 2)
    plain = load(flags(*small), tokenizer)
    chat = load(flags(*small, "--enable-multimodal-chat"), tokenizer)
    for a, b in zip(plain, chat, strict=True):
        assert b.chat_messages == [
            {"role": "user", "content": [{"text": a.prompt, "type": "text"}, *a.multi_modal]}
        ]
        assert b.multi_modal is None


@given(
    least=st.integers(0, 4),
    more=st.integers(0, 4),
    images=st.integers(0, 4),
    videos=st.integers(0, 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_items_keep_their_number_and_their_limits(least, more, images, videos, seed):
    most = min(least + more, images + videos)
    least = min(least, most)
    plan = ItemPlan(
        least,
        most,
        {(8, 8, 1): 0.25, (4, 4, 1): 0.25, (8, 8, 5): 0.5},
        {"image": images, "video": videos},
    )
    rng = np.random.default_rng(seed)
    for _ in range(5):
        kinds = Counter(map(modality, draw_items(plan, rng)))
        assert least <= kinds.total() <= most
        assert kinds["image"] <= images
        assert kinds["video"] <= videos


def test_buckets_come_as_often_as_their_weights_say():
    plan = item_plan(
        flags("--random-mm-bucket-config", '{"(8, 8, 1)": 3, "(4, 4, 1)": 1, "(2, 2, 1)": 0}')
    )
    rng = np.random.default_rng(1)
    counts = Counter(b for _ in range(2000) for b in draw_items(plan, rng))
    assert counts.total() == 2000
    assert counts[8, 8, 1] == pytest.approx(1500, abs=4 * (2000 * 0.75 * 0.25) ** 0.5)
    assert (2, 2, 1) not in counts


def test_a_video_has_its_frames(tokenizer, tmp_path):
    cv2 = pytest.importorskip("cv2", reason="the extra 'video' is not installed")
    video = ("--random-mm-bucket-config", '{"(32, 48, 6)": 1}', "--num-prompts", 1)
    (sample,) = load(flags(*video), tokenizer)
    (part,) = sample.multi_modal
    head, _, data = part["video_url"]["url"].partition(",")
    assert (part["type"], head) == ("video_url", "data:video/mp4;base64")
    (tmp_path / "v.mp4").write_bytes(base64.b64decode(data))
    read = cv2.VideoCapture(str(tmp_path / "v.mp4"))
    sizes = [
        read.get(p)
        for p in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH)
    ]
    assert sizes == [6, 32, 48]


def test_without_the_extras_the_line_says_what_to_install(monkeypatch, tokenizer):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(
        ConfigError,
        match=r"Pillow, which is not installed; pip install 'llmbench-locust\[vision\]'",
    ):
        load(flags(), tokenizer)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ConfigError, match=r"llmbench-locust\[video\]"):
        mp4(np.zeros((2, 4, 4, 3), np.uint8))


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (
            ("--random-mm-bucket-config", '{"(8, 8)": 1}'),
            r"--random-mm-bucket-config: '\(8, 8\)' is not a bucket",
        ),
        (("--random-mm-bucket-config", '{"(8, 0, 1)": 1}'), r"is not a bucket"),
        (("--random-mm-bucket-config", '{"x": 1}'), r"'x' is not a bucket"),
        (("--random-mm-bucket-config", '{"(8, 8, 1)": -1}'), r"the probability of .* is -1"),
        (("--random-mm-bucket-config", '{"(8, 8, 1)": 0}'), r"all probabilities are 0"),
        (
            ("--random-mm-limit-mm-per-prompt", '{"image": 1}'),
            r"--random-mm-limit-mm-per-prompt: no limit for video",
        ),
        (("--random-mm-limit-mm-per-prompt", '{"image": -1, "video": 1}'), r"image is -1"),
        (
            (
                "--random-mm-base-items-per-request",
                3,
                "--random-mm-limit-mm-per-prompt",
                '{"image": 2, "video": 1}',
            ),
            r"--random-mm-base-items-per-request: at least 3 items, but "
            "--random-mm-limit-mm-per-prompt allows 2",
        ),
        (("--random-input-len", 0), r"--random-input-len: 0 allows empty prompts"),
        (
            (
                "--backend",
                "openai-embeddings-clip",
                "--random-mm-bucket-config",
                '{"(8, 8, 4)": 1}',
            ),
            r"--backend openai-embeddings-clip does not support videos",
        ),
        (
            ("--backend", "openai-embeddings-clip", "--random-batch-size", 2),
            r"--random-batch-size: 2 is not possible with random-mm",
        ),
    ],
)
def test_bad_flags_are_one_line(argv, line, tokenizer):
    with pytest.raises(ConfigError, match=line):
        load(flags(*argv), tokenizer)
