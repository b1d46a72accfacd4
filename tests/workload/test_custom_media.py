"""custom_image and custom_audio: references pass, what is asked for is embedded, bad lines are
named.
"""

import base64
import io
import random

import numpy as np
import pytest
import soundfile
from PIL import Image

from llmbench_locust.errors import ConfigError
from llmbench_locust.workload.custom_media import load_images, load_sounds
from llmbench_locust.workload.media import audio_file, image_part, video_part
from tests.workload.common import config, write_jsonl

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def image_flags(path, *more):
    base = (
        "--dataset-name",
        "custom_image",
        "--backend",
        "openai-chat",
        "--no-oversample",
        "--disable-shuffle",
    )
    return config(*base, "--dataset-path", path, *more)


def audio_flags(path, backend, *more):
    base = (
        "--dataset-name",
        "custom_audio",
        "--no-oversample",
        "--disable-shuffle",
        "--backend",
        backend,
    )
    return config(*base, "--dataset-path", path, *more)


def url(text):
    return {"type": "image_url", "image_url": {"url": text}}


def test_image_references_pass_as_they_are(tmp_path, tokenizer):
    (tmp_path / "a.png").write_bytes(PNG)
    rows = [
        {
            "prompt": "How many?",
            "image_files": ["https://x.test/a.jpg", "data:image/png;base64,AA=="],
        },
        {"prompt": "Which?", "image_files": ["a.png"]},
        {"prompt": "On the server", "image_files": ["/srv/none.png"]},
    ]
    got = load_images(
        image_flags(write_jsonl(tmp_path / "x.jsonl", rows), "--custom-output-len", 7), tokenizer
    )
    assert [s.prompt for s in got] == [r["prompt"] for r in rows]
    assert got[0].multi_modal == [url("https://x.test/a.jpg"), url("data:image/png;base64,AA==")]
    assert got[1].multi_modal == url(f"file://{tmp_path}/a.png")
    one = write_jsonl(tmp_path / "one.jsonl", rows[1:2])
    (embedded,) = load_images(image_flags(one, "--custom-ensure-client-side-data"), tokenizer)
    assert embedded.multi_modal == url("data:image/png;base64," + base64.b64encode(PNG).decode())
    assert got[2].multi_modal == url("file:///srv/none.png")
    assert {s.expected_output_len for s in got} == {7}
    assert got[0].prompt_len == len(tokenizer.encode("How many?"))


def test_interleaved_content_keeps_its_order(tmp_path, tokenizer):
    content = [
        {"type": "text", "text": "Compare "},
        {"type": "image", "image": "https://x.test/a.jpg"},
        {"type": "text", "text": " and "},
        {"type": "image_url", "image_url": {"url": "https://x.test/b.jpg", "detail": "low"}},
        {"type": "image_url", "image_url": "https://x.test/c.jpg"},
    ]
    path = write_jsonl(tmp_path / "x.jsonl", [{"content": content, "output_tokens": 5}])
    (sample,) = load_images(image_flags(path, "--custom-output-len", -1), tokenizer)
    low = {"type": "image_url", "image_url": {"url": "https://x.test/b.jpg", "detail": "low"}}
    parts = [content[0], url("https://x.test/a.jpg"), content[2], low, url("https://x.test/c.jpg")]
    assert sample.chat_messages == [{"role": "user", "content": parts}]
    assert sample.prompt_len == len(tokenizer.encode("Compare  and "))
    assert sample.expected_output_len == 5


def test_messages_hold_the_images_when_asked(tmp_path, tokenizer):
    path = write_jsonl(
        tmp_path / "x.jsonl", [{"prompt": "Hi", "image_files": ["https://x.test/a.jpg"]}]
    )
    (sample,) = load_images(image_flags(path, "--enable-multimodal-chat"), tokenizer)
    content = [{"text": "Hi", "type": "text"}, url("https://x.test/a.jpg")]
    assert sample.prompt == sample.chat_messages == [{"role": "user", "content": content}]
    assert sample.multi_modal is None


def test_the_order_is_the_seed_s_and_samples_repeat(tmp_path, tokenizer):
    rows = [{"prompt": f"p{i}", "image_files": ["https://x.test/a.jpg"]} for i in range(8)]
    path = write_jsonl(tmp_path / "x.jsonl", rows)
    argv = (
        "--dataset-name",
        "custom_image",
        "--backend",
        "openai-chat",
        "--dataset-path",
        path,
        "--seed",
        4,
    )
    order = list(range(8))
    random.Random(4).shuffle(order)
    again = random.Random(4)
    expected = [f"p{i}" for i in order]
    expected += [again.choice(expected[:8]) for _ in range(3)]
    got = load_images(config(*argv, "--num-prompts", 11), tokenizer)
    assert [s.prompt for s in got] == expected
    assert [s.request_id for s in got] == [f"g-{i}" for i in range(11)]


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ({"prompt": "x"}, r"line 2 has neither 'content' nor both"),
        ({"prompt": 3, "image_files": ["a"]}, r"line 2 has a 'prompt' that is not a string"),
        ({"prompt": "x", "image_files": []}, r"line 2 has 'image_files'"),
        ({"prompt": "x", "image_files": [3]}, r"an image has the type int.*\(line 2\)"),
        ({"content": []}, r"line 2 has 'content'"),
        ({"content": [{"type": "text"}]}, r"line 2 has a text part without"),
        ({"content": [{"type": "sound"}]}, r"line 2 has a part whose type is not text,"),
        (
            {"content": [{"type": "image_url", "image_url": {}}]},
            r"line 2 has an image_url part without",
        ),
    ],
)
def test_a_bad_line_is_named(tmp_path, tokenizer, row, line):
    path = write_jsonl(
        tmp_path / "x.jsonl", [{"prompt": "x", "image_files": ["https://x.test/a"]}, row]
    )
    with pytest.raises(ConfigError, match=line):
        load_images(image_flags(path), tokenizer)


def test_files_that_are_no_jsonl(tmp_path, tokenizer):
    (tmp_path / "x.jsonl").write_text(
        '{"prompt": "x", "image_files": ["https://a"]}\n\n{"prompt"\n'
    )
    with pytest.raises(ConfigError, match=r"--dataset-path: .*x\.jsonl' line 3 is not JSON"):
        load_images(image_flags(tmp_path / "x.jsonl"), tokenizer)
    (tmp_path / "x.jsonl").write_text("\n")
    with pytest.raises(ConfigError, match=r"is empty"):
        load_images(image_flags(tmp_path / "x.jsonl"), tokenizer)
    (tmp_path / "x.csv").write_text("a")
    with pytest.raises(ConfigError, match=r"is not a \.jsonl file"):
        load_images(image_flags(tmp_path / "x.csv"), tokenizer)


def test_pixels_become_jpeg_on_white():
    part = image_part(Image.new("RGBA", (4, 4), (0, 0, 0, 0)))
    data = base64.b64decode(part["image_url"]["url"].removeprefix("data:image/jpeg;base64,"))
    assert Image.open(io.BytesIO(data)).getpixel((1, 1)) == (255, 255, 255)
    assert image_part({"bytes": PNG})["image_url"]["url"].startswith("data:image/jpeg;base64,")
    with pytest.raises(ConfigError, match="Pillow cannot read the image bytes"):
        image_part({"bytes": b"no image"})


def test_embedding_sends_the_file_itself(tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    wanted = "data:image/png;base64," + base64.b64encode(PNG).decode()
    assert image_part("a.png", embed=True, folder=str(tmp_path)) == url(wanted)
    with pytest.raises(
        ConfigError, match=r"--custom-ensure-client-side-data: 'file:///none/b\.png' cannot be read"
    ):
        image_part("/none/b.png", embed=True)


def test_videos_are_references_or_data():
    assert video_part("https://x.test/a.mp4")["video_url"] == {"url": "https://x.test/a.mp4"}
    assert video_part("/srv/a.mp4")["video_url"] == {"url": "file:///srv/a.mp4"}
    assert video_part({"bytes": b"abc"})["video_url"] == {"url": "data:video/mp4;base64,YWJj"}
    with pytest.raises(ConfigError, match="a video has the type int"):
        video_part(3)


def sound(path, seconds=0.25):
    soundfile.write(path, np.full(int(16000 * seconds), 0.5), 16000)
    return path


def test_audio_is_a_file_for_transcription(tmp_path, tokenizer):
    sound(tmp_path / "a.wav")
    path = write_jsonl(tmp_path / "x.jsonl", [{"prompt": "Write it down.", "audio": "a.wav"}])
    (sample,) = load_sounds(audio_flags(path, "openai-audio", "--skip-chat-template"), tokenizer)
    data = (tmp_path / "a.wav").read_bytes()
    assert sample.multi_modal == {"audio": data, "filename": "a.wav", "duration_s": 0.25}
    assert (sample.prompt, sample.expected_output_len) == ("Write it down.", 256)
    (sample,) = load_sounds(audio_flags(path, "openai-audio"), tokenizer)
    messages = [{"role": "user", "content": "Write it down."}]
    assert sample.prompt == tokenizer.apply_chat_template(messages, add_generation_prompt=True)


def test_audio_is_a_part_for_chat(tmp_path, tokenizer):
    sound(tmp_path / "a.flac")
    rows = [
        {"prompt": "Hm?", "audio": str(tmp_path / "a.flac")},
        {"audio": "https://x.test/a.mp3", "output_tokens": 3},
    ]
    path = write_jsonl(tmp_path / "x.jsonl", rows)
    first, second = load_sounds(audio_flags(path, "openai-chat"), tokenizer)
    part = first.multi_modal["input_audio"]
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(part["data"])))
    assert (first.multi_modal["type"], part["format"], rate, len(samples), samples[0]) == (
        "input_audio",
        "wav",
        16000,
        4000,
        0.5,
    )
    assert first.prompt == "Hm?"
    assert second.multi_modal == {"type": "audio_url", "audio_url": {"url": "https://x.test/a.mp3"}}


def test_samples_become_wav():
    found = audio_file((np.zeros(8000), 16000))
    assert (found["filename"], found["duration_s"]) == ("audio.wav", 0.5)
    assert soundfile.info(io.BytesIO(found["audio"])).frames == 8000
    assert audio_file({"array": np.zeros(8000), "sampling_rate": 16000}) == found


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ({"prompt": "x"}, r"line 1 needs a path as 'audio'"),
        (
            {"audio": "none.wav"},
            r"'none\.wav' cannot be read \(No such file or directory\) \(line 1\)",
        ),
        ({"audio": "x.jsonl"}, r"'x\.jsonl' is not an audio file that soundfile can read"),
    ],
)
def test_bad_audio_is_one_line(tmp_path, tokenizer, row, line):
    path = write_jsonl(tmp_path / "x.jsonl", [row])
    with pytest.raises(ConfigError, match=line):
        load_sounds(audio_flags(path, "openai-audio"), tokenizer)


def test_a_length_of_its_own_must_be_there(tmp_path, tokenizer):
    sound(tmp_path / "a.wav")
    path = write_jsonl(tmp_path / "x.jsonl", [{"audio": "a.wav", "output_tokens": "many"}])
    with pytest.raises(
        ConfigError, match=r"line 1 needs a whole number of 1 or more as 'output_tokens'"
    ):
        load_sounds(audio_flags(path, "openai-audio", "--custom-output-len", -1), tokenizer)
