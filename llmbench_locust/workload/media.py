"""Converts images, videos and audio for requests: to content parts with a URL or base64 data, or to
the bytes of a file.

References are sent as references: http(s) and data URLs are unchanged, and a path becomes a
``file://`` URL that the server opens (vLLM needs ``--allowed-local-media-path`` for it). With
``embed=True`` the client reads them and sends a data URL.

Pillow, soundfile and OpenCV are optional and imported only when needed.
"""

from __future__ import annotations

import base64
import importlib
import io
import os
from pathlib import Path
from types import ModuleType
from typing import Any

from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json

#: Module → (extra that installs it, why it is needed).
_EXTRAS = {
    "PIL.Image": ("vision", "images need Pillow"),
    "soundfile": ("audio", "audio files need soundfile"),
    "cv2": ("video", "making videos needs OpenCV"),
}
LONGEST_PATH = 4096  # bytes, on Linux
_REMOTE = ("http://", "https://")
_MAGIC = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
)


def need(module: str) -> ModuleType:
    """An optional module. Raises ConfigError that names the extra to install."""
    try:
        return importlib.import_module(module)
    except ImportError:
        extra, purpose = _EXTRAS[module]
        raise ConfigError(
            f"--dataset-name: {purpose}, which is not installed; pip install "
            f"'llmbench-locust[{extra}]'"
        ) from None


def data_url(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"


def image_part(image: object, *, embed: bool = False, folder: str | None = None) -> Json:
    """An ``image_url`` part from a Pillow image, ``{"bytes": …}``, ``{"path": …}``, a URL or path.

    Pixels are sent as JPEG. ``folder``: also searched for relative paths. Raises ConfigError.
    """
    if isinstance(image, dict):
        if image.get("bytes") is not None:
            image = _open_image(image["bytes"])
        elif image.get("path"):
            image = image["path"]
    if isinstance(image, str) and image:
        url = image if image.startswith("data:image/") else _reference(image, folder)
        if embed and not url.startswith("data:"):
            url = _embedded(url)
    elif hasattr(image, "convert") and hasattr(image, "save"):
        url = data_url("image/jpeg", jpeg(image))
    else:
        raise ConfigError(
            f"--dataset-path: an image has the type {type(image).__name__}; it must be a path, a "
            "URL, a data:image URL or image bytes"
        )
    return {"type": "image_url", "image_url": {"url": url}}


def jpeg(image: Any) -> bytes:
    """The JPEG of a Pillow image; transparent pixels become white."""
    if image.mode == "RGBA":
        opaque = need("PIL.Image").new("RGB", image.size, (255, 255, 255))
        opaque.paste(image, mask=image.split()[3])
        image = opaque
    elif image.mode != "RGB":
        image = image.convert("RGB")
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG")
    return buffer.getvalue()


def video_part(video: object, *, folder: str | None = None) -> Json:
    """A ``video_url`` part from ``{"bytes": MP4}``, ``{"path": …}``, a URL or a path."""
    if isinstance(video, dict):
        if video.get("bytes") is not None:
            return {
                "type": "video_url",
                "video_url": {"url": data_url("video/mp4", video["bytes"])},
            }
        video = video.get("path")
    if not isinstance(video, str) or not video:
        raise ConfigError(
            f"--dataset-path: a video has the type {type(video).__name__}; it must be a path, a "
            "URL, a data:video URL or video bytes"
        )
    url = video if video.startswith("data:video/") else _reference(video, folder)
    return {"type": "video_url", "video_url": {"url": url}}


def audio_file(audio: object, *, folder: str | None = None) -> Json:
    """The upload for ``openai-audio``: ``{"audio": bytes of a file, "filename", "duration_s"}``.

    ``audio``: a path, ``{"path": …}`` or ``{"bytes": …}`` (the unchanged file), or ``{"array",
    "sampling_rate"}`` or (array, rate) (the samples as 16-bit WAV). Raises ConfigError.
    """
    soundfile = need("soundfile")
    if isinstance(audio, dict):
        if audio.get("bytes") is not None:
            name = Path(audio.get("path") or "audio").name
            return _file_of_bytes(soundfile, audio["bytes"], name)
        if "array" in audio and "sampling_rate" in audio:
            audio = (audio["array"], audio["sampling_rate"])
        else:
            audio = audio.get("path")
    if isinstance(audio, str) and audio:
        path = local_path(audio, folder)
        try:
            data = path.read_bytes()
        except (OSError, ValueError) as e:  # a NUL in the name
            why = getattr(e, "strerror", None) or e
            raise ConfigError(f"--dataset-path: {audio!r} cannot be read ({why})") from None
        return _file_of_bytes(soundfile, data, path.name)
    if isinstance(audio, tuple) and len(audio) == 2:
        samples, rate = audio
        return {
            "audio": _wav(soundfile, samples, rate),
            "filename": "audio.wav",
            "duration_s": len(samples) / float(rate),
        }
    raise ConfigError(
        "--dataset-path: an audio is not a path, bytes, or samples with their sampling_rate"
    )


def audio_part(audio: object, *, folder: str | None = None) -> Json:
    """``input_audio`` with base64 WAV for chat; ``audio_url`` for an http(s) or data URL."""
    if isinstance(audio, str) and audio.startswith((*_REMOTE, "data:audio/")):
        return {"type": "audio_url", "audio_url": {"url": audio}}
    found = audio_file(audio, folder=folder)
    soundfile = need("soundfile")
    samples, rate = soundfile.read(io.BytesIO(found["audio"]))
    data = base64.b64encode(_wav(soundfile, samples, rate)).decode("ascii")
    return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}


def local_path(name: str, folder: str | None) -> Path:
    """The path as given, or in ``folder`` if it exists only there."""
    path = Path(name.removeprefix("file://"))
    if (
        folder is not None
        and not path.is_absolute()
        and not os.path.exists(path)  # unlike Path.exists, False for a name that is too long
        and os.path.exists(Path(folder) / path)
    ):
        return Path(folder) / path
    return path


def _reference(text: str, folder: str | None) -> str:
    if text.startswith((*_REMOTE, "file://")):
        return text
    if len(text) > LONGEST_PATH:
        raise ConfigError(
            f"--dataset-path: {text[:30]!r}… has {len(text)} characters, too many for a path; "
            "base64 data must begin with data:image/png;base64, or the like"
        )
    path = local_path(text, folder)
    return f"file://{path.absolute() if os.path.exists(path) else path}"


def _embedded(url: str) -> str:
    """A data URL with the content of a file:// or http(s) URL."""
    if url.startswith("file://"):
        try:
            data = Path(url.removeprefix("file://")).read_bytes()
        except OSError as e:
            raise ConfigError(
                f"--custom-ensure-client-side-data: {url!r} cannot be read ({e.strerror})"
            ) from None
    else:
        import requests

        try:
            answer = requests.get(url, timeout=30)
            answer.raise_for_status()
        except requests.RequestException as e:
            raise ConfigError(
                f"--custom-ensure-client-side-data: {url!r} cannot be loaded ({type(e).__name__})"
            ) from None
        data = answer.content
    for magic, mime in _MAGIC:
        if data.startswith(magic):
            return data_url(mime, data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return data_url("image/webp", data)
    return data_url("image/jpeg", jpeg(_open_image(data)))


def _open_image(data: bytes) -> Any:
    try:
        return need("PIL.Image").open(io.BytesIO(data))
    except OSError as e:
        raise ConfigError(f"--dataset-path: Pillow cannot read the image bytes ({e})") from None


def _wav(soundfile: ModuleType, samples: Any, rate: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, int(rate), format="WAV")
    return buffer.getvalue()


def _file_of_bytes(soundfile: ModuleType, data: bytes, name: str) -> Json:
    try:
        duration_s = float(soundfile.info(io.BytesIO(data)).duration)
    except RuntimeError as e:
        raise ConfigError(
            f"--dataset-path: {name!r} is not an audio file that soundfile can read ({e})"
        ) from None
    return {"audio": data, "filename": name, "duration_s": duration_s}
