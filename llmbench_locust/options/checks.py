"""Checks of single values. Each failure is one line: the flag, what was found, what is allowed."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import PurePath
from typing import Any
from urllib.parse import SplitResult, urlsplit

import numpy as np

from llmbench_locust.arrivals import Ramp
from llmbench_locust.backends import BackendInfo
from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json
from llmbench_locust.options.flag import flag
from llmbench_locust.options.values import integer, number, pairs, seconds
from llmbench_locust.redact import MASK, without_user

OBJECTIVES = ("ttft", "ttfo", "tpot", "e2el")
METRICS = (
    *("ttft", "ttfo", "tpot", "itl", "e2el"),
    "client_queue_time",
    "e2el_including_client_queue",
)
#: Stands for --num-prompts inf: only --duration ends the run.
ENDLESS = 2**62
#: Requests per second and slot of --max-concurrency to plan for --duration without a rate.
REQUESTS_PER_PLACE = 4
_TOKEN = re.compile(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")  # RFC 9110, 5.6.2

_BARE_HOST = re.compile(r"^(\[[0-9A-Fa-f:.%\w]+\]|[\w.-]+)(:\d*)?$")


def base_urls(given: str | None, host: str | None, port: int) -> tuple[str, ...]:
    """`base_url` of each server; spaces separate the URLs of --base-url."""
    urls: list[str | None] = [*(given or "").split()] or [None]
    found = tuple(base_url(url, host, port) for url in urls)
    if len(set(found)) < len(found):
        raise ConfigError("--base-url: a server is given twice; give each once")
    return found


def base_url(given: str | None, host: str | None, port: int) -> str:
    """scheme://host:port of --base-url, else of --host (bare or a URL) and --port."""
    if not 1 <= port <= 65535:
        raise ConfigError(f"--port: {port} is not a port; use 1 to 65535")
    name, text = ("--base-url", given) if given else ("--host", (host or "").strip())
    if not text:
        return f"http://127.0.0.1:{port}"
    if "://" not in text:
        if given:
            raise ConfigError(
                f"--base-url: {without_user(text)!r} has no scheme; use "
                "http://host:port or https://host"
            )
        bare = f"[{text}]" if text.count(":") > 1 and not text.startswith("[") else text
        has_port = ":" in bare.rpartition("]")[2]
        if not _BARE_HOST.match(bare):
            raise ConfigError(
                f"--host: {without_user(text)!r} is not a host; use a name, an address or "
                "http://host:port"
            )
        text = f"http://{bare}" if has_port else f"http://{bare}:{port}"
    url = urlsplit_or_none(text)
    if url is None or url.query or url.fragment or any(c.isspace() for c in text):
        raise ConfigError(
            f"{name}: {without_user(text)!r} is not a server's URL; use http://host:port or "
            "https://host"
        )
    if url.username == MASK:
        raise ConfigError(f"{name}: {text!r} has lost its user and password; give the whole URL")
    return text.rstrip("/")


def urlsplit_or_none(text: str) -> SplitResult | None:
    """The parts of an http or https URL with a host and no invalid port; else None."""
    try:
        url = urlsplit(text)
        good = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        return None
    return url if good else None


def endpoint(given: str | None, info: BackendInfo) -> str:
    """The path; raises ConfigError unless it ends as the backend's protocol requires."""
    if given is None:
        return info.endpoint
    path = "/" + given.lstrip("/")
    if any(c.isspace() for c in path) or "://" in path or "#" in path:
        raise ConfigError(
            f"--endpoint: {given!r} is not a path; use a path such as {info.endpoint} and name "
            "the server with --base-url"
        )
    if not path.partition("?")[0].rstrip("/").endswith(info.endings):
        wanted = " or ".join(info.endings)
        raise ConfigError(
            f"--endpoint: {given!r} does not fit --backend {info.name}; use a path that "
            f"ends with {wanted}"
        )
    return path


def headers(found: dict[str, str]) -> None:
    for key, value in found.items():
        if [name.lower() for name in found].count(key.lower()) > 1:
            raise ConfigError(
                f"--header: {key!r} is given twice (header names ignore case); give it once"
            )
        header_name("--header", key)
        header_value(f"--header: the value of {key!r}", value)
        if key.lower() in ("content-length", "transfer-encoding", "host", "connection"):
            raise ConfigError(f"--header: {key!r} is set by the client; leave it out")


def header_name(flag: str, name: str) -> None:
    if not _TOKEN.match(name):
        raise ConfigError(f"{flag}: {name!r} is not a header name; use letters, digits and hyphens")


def header_value(what: str, value: str) -> None:
    if any(ord(c) < 32 or ord(c) == 127 or ord(c) > 255 for c in value):
        raise ConfigError(
            f"{what} has characters that a header cannot hold; use Latin-1 text on one line"
        )


def metrics_urls(words: tuple[str, ...]) -> tuple[str, ...]:
    """URLs of metrics pages without duplicates, or off alone."""
    if "off" in words and len(set(words)) > 1:
        raise ConfigError("--server-metrics: off cannot be used with a URL")
    return _pages("--server-metrics", words, "off")


def gpu_pages(words: tuple[str, ...]) -> tuple[str, ...]:
    """URLs of GPU metrics pages, or nvml, without duplicates."""
    return _pages("--gpu-metrics", words, "nvml")


def _pages(name: str, words: tuple[str, ...], other: str) -> tuple[str, ...]:
    for word in words:
        if word.partition("#")[0] != other and urlsplit_or_none(word) is None:
            raise ConfigError(
                f"{name}: {without_user(word)!r} is not the URL of a metrics page; use "
                f"http://host:port/metrics or {other}"
            )
    return tuple(dict.fromkeys(words))


def or_empty(text: str | None) -> str:
    return text or ""


def file_name(name: str) -> Callable[[str | None], str | None]:
    """Returns a check of the flag ``name``: the file must stay inside its directory."""

    def check(text: str | None) -> str | None:
        path = PurePath(text or "")
        if path.is_absolute() or ".." in path.parts:
            raise ConfigError(
                f"{name}: {text!r} leaves the result directory; use a name and set the directory "
                "with --result-dir"
            )
        return text

    return check


_SETTINGS = ("request_rate", "burstiness", "max_concurrency", "num_prompts")
#: Keys of the result file; a pattern matches those of latencies, probes and speculative decoding.
_RESULT_KEYS = (
    "date", "endpoint_type", "backend", "label", "model_id", "tokenizer_id", "num_prompts",
    "request_rate", "burstiness", "max_concurrency", "ramp_up_strategy", "ramp_up_start_rps",
    "ramp_up_end_rps", "duration", "completed", "failed", "total_input_tokens",
    "total_output_tokens", "total_input_sequences", "request_throughput", "request_goodput",
    "input_sequence_throughput", "output_throughput", "total_token_throughput", "input_lens",
    "output_lens", "ttfts", "itls", "latencies", "start_times", "queue_times", "generated_texts",
    "errors", "max_output_tokens_per_s", "max_concurrent_requests", "rtfx", "rps_change_events",
    "llmbench",
)  # fmt: skip
_RESULT_KEY_FORMS = re.compile(r"(mean|median|std|p[\d.]+)_\w+_ms|(probe|spec_decode)_\w+")


def metadata(words: tuple[str, ...]) -> dict[str, str]:
    found = pairs("--metadata", words)
    for key in _SETTINGS:
        found.pop(key, None)  # scripts pass these; the result has its own
    for key in found:
        if key in _RESULT_KEYS or _RESULT_KEY_FORMS.fullmatch(key):
            raise ConfigError(f"--metadata: {key!r} is a key of the result file; use another name")
    return found


def goodput(words: tuple[str, ...], info: BackendInfo) -> dict[str, float]:
    """Objectives in ms by name."""
    allowed = OBJECTIVES if info.kind == "generation" else ("e2el",)
    found: dict[str, float] = {}
    for key, text in pairs("--goodput", words, ":").items():
        if key not in allowed:
            raise ConfigError(
                f"--goodput: {key!r} is not an objective here; use {', '.join(allowed)}, as "
                "KEY:MILLISECONDS"
            )
        value = number(f"--goodput {key}", text)
        if value < 0 or math.isinf(value):
            raise ConfigError(f"--goodput: {key} is {text}; use milliseconds, 0 or more")
        found[key] = value
    return found


def percentiles(text: str) -> tuple[float, ...]:
    found: list[float] = []
    for word in str(text).split(","):
        if not word.strip():
            continue
        value = number("--metric-percentiles", word.strip())
        if not 0 < value <= 100:
            raise ConfigError(
                f"--metric-percentiles: {word.strip()} is not a percentile; use numbers "
                "above 0 and at most 100"
            )
        if value not in found:
            found.append(value)
    if not found:
        raise ConfigError("--metric-percentiles: no percentile given; use for example 50,90,99")
    return tuple(found)


def percentile_metrics(text: str | None, info: BackendInfo) -> tuple[str, ...]:
    if text is None:
        return ("ttft", "tpot", "itl") if info.kind == "generation" else ("e2el",)
    found = tuple(dict.fromkeys(w.strip() for w in text.split(",") if w.strip()))
    if not found:
        raise ConfigError(
            f"--percentile-metrics: no metric given; use some of {', '.join(METRICS)}, "
            "separated by commas"
        )
    for name in found:
        if name not in METRICS:
            raise ConfigError(
                f"--percentile-metrics: {name!r} is not a metric; use some of "
                f"{', '.join(METRICS)}, separated by commas"
            )
    return found


def num_prompts(given: str | int) -> int:
    """--num-prompts: a whole number; inf is `ENDLESS`."""
    text = str(given)
    return ENDLESS if text.lower() == "inf" else integer("--num-prompts", text)


def duration(name: str) -> Callable[[str | None], float | None]:
    """Returns a parser of times such as 60s, 5m or 1h into seconds; None when not given."""

    def read(given: str | None) -> float | None:
        total = seconds(f"--{name}", given)
        if total == 0:
            raise ConfigError(f"--{name}: {given!r} is not a time; use 90s, 5m or 1h30m")
        return total

    return read


def time_flag(name: str, help: str) -> Any:
    """The field of a flag that takes a time such as 60s, in seconds; None when not given."""
    return flag(None, help, name=name, kind="text", metavar="TIME", parse=duration(name))


def count_for(v: Json) -> int:
    """The number of requests that takes ``duration_s``. Raises ConfigError if there is none.

    With a rate, the last request is due at n / rate, because vLLM scales its arrivals; with a ramp,
    after the sum of the mean intervals. With only a concurrency limit, more requests are planned
    than the server can serve, and sending stops when the time is up.
    """
    lasts_s, rate = float(v["duration_s"]), float(v["request_rate"])
    if None not in (v["ramp_up_strategy"], v["ramp_up_start_rps"], v["ramp_up_end_rps"]):
        ramp = Ramp(v["ramp_up_strategy"], v["ramp_up_start_rps"], v["ramp_up_end_rps"])
        rate = 1 / float(np.mean(1 / np.maximum(ramp.rates(1000), 1e-9)))
    if rate < math.inf:
        return max(1, round(rate * lasts_s))
    if v["max_concurrency"] is None:
        raise ConfigError("--duration: use it with --request-rate or --max-concurrency")
    places = int(v["max_concurrency"])
    return int(min(100_000, max(1000, places * lasts_s * REQUESTS_PER_PLACE)))


def prewarm(given: str) -> int | None:
    """--prewarm-connections: a number, None for auto."""
    if given == "auto":
        return None
    if not given.isdecimal():
        raise ConfigError(f"--prewarm-connections: {given!r}; use a number from 0, or auto")
    return int(given)


def thresholds(text: str) -> tuple[float, float]:
    words = [w for w in str(text).split(",") if w.strip()]
    values = [number("--timeline-itl-thresholds", w.strip()) for w in words]
    if len(values) != 2 or not 0 <= values[0] <= values[1] < math.inf:
        raise ConfigError(
            f"--timeline-itl-thresholds: {text!r} is not two thresholds; use two numbers in ms, "
            "separated by a comma, the lower one first"
        )
    return values[0], values[1]


def sampling(v: Json, names: tuple[str, ...], info: BackendInfo, *, greedy: bool) -> Json:
    """The sampling parameters that were given, by API name; with ``greedy`` temperature 0.0 unless
    it was given.

    Raises ConfigError for one that the protocol does not support.
    """
    found = {name: v[name] for name in names if v[name] is not None}
    for name in found:
        if name not in info.sampling:
            able = ", ".join(info.sampling).replace("_", "-") or "no sampling parameter"
            raise ConfigError(
                f"--{name.replace('_', '-')}: --backend {info.name} does not support it; it "
                f"supports {able}"
            )
    if greedy and info.kind == "generation" and "temperature" in info.sampling:
        found.setdefault("temperature", 0.0)
    return found
