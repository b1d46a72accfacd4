"""The options of the simulator: one field each, with its default, bounds and help."""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass
from typing import TypeVar

from llmbench_locust.command_parser import CommandParser, bounded
from llmbench_locust.errors import ConfigError
from llmbench_locust.simulator.faults import HELP, NONE, Faults, parse_faults

T = TypeVar("T")


def _opt(
    default: T, group: str, help: str, bounds: tuple[float, float] | None = None, **more: object
) -> T:
    """An option's field. ``more``: `flag`, `scale` (to seconds), arguments of `add_argument`."""
    row = {"group": group, "help": help, "bounds": bounds, **more}
    return dataclasses.field(default=default, repr=more.get("flag") != "--api-key", metadata=row)


def _ms(default_s: float, flag: str, help: str) -> float:
    """An option given in milliseconds and stored in seconds."""
    return _opt(default_s, "clock", help, (0.0, 3_600_000.0), flag=flag, scale=1e-3)


_INF = float("inf")


@dataclass(frozen=True, slots=True)
class Settings:
    """Times in seconds, rates in tokens per second."""

    host: str = _opt("127.0.0.1", "server", "address to listen on, IPv4 or IPv6")
    port: int = _opt(8000, "server", "port; 0 takes a free one (the URL is printed)", (0, 65535))
    model: str = _opt("sim", "server", "name of the model")
    strict_model: bool = _opt(False, "server", "answer 404 for any other model, as vLLM does")
    api_key: str | None = _opt(
        None, "server", "reject requests without this bearer token or x-api-key", flag="--api-key"
    )
    tls_cert: str | None = _opt(None, "server", "serve HTTPS with this PEM file", metavar="FILE")
    tls_key: str | None = _opt(
        None, "server", "key of --tls-cert, if in another file", metavar="FILE"
    )
    max_model_len: int = _opt(131_072, "server", "most prompt and response tokens", (1, 2**31))
    log: str | None = _opt(
        None,
        "server",
        "append a JSON line for each request: t (CLOCK_MONOTONIC), sha, id, path, …",
        metavar="FILE",
    )
    keep: int = _opt(10_000, "server", "requests that /sim/stats lists", (0, 2**31))
    clock: str = _opt(
        "engine",
        "clock",
        "engine: continuous batching; fixed: the times of --ttft-ms and --itl-ms",
        choices=("engine", "fixed"),
    )
    ttft_s: float = _ms(0.05, "--ttft-ms", "fixed: ms from the arrival to the first token")
    itl_s: float = _ms(0.01, "--itl-ms", "fixed: ms between token events")
    jitter: float = _opt(
        0.0, "clock", "fixed: each gap times 1 ± J, uniform, by seed", (0, 1), metavar="J"
    )
    prefill_rate: float = _opt(200_000.0, "clock", "engine: prompt tokens/s", (1, _INF))
    step_s: float = _ms(0.006, "--step-ms", "engine: ms of a step with an empty batch")
    step_per_seq_s: float = _ms(0.00003, "--step-per-seq-ms", "engine: ms added per sequence")
    max_num_seqs: int = _opt(256, "clock", "engine: most sequences at once", (1, 2**31))
    max_batched_tokens: int = _opt(8192, "clock", "engine: most tokens of a step", (1, 2**31))
    kv_tokens: int | None = _opt(
        None,
        "clock",
        "engine: size of the KV cache; the youngest sequence is preempted when it is full",
        (1, 2**31),
    )
    prefix_cache: int = _opt(
        0,
        "clock",
        "size of the prefix cache in blocks; cached blocks need no prefill",
        (0, 2**31),
        metavar="BLOCKS",
    )
    block_size: int = _opt(16, "clock", "tokens per block", (1, 2**31))
    gpu_idle_w: float = _opt(100.0, "clock", "/dcgm/metrics: watts of the idle GPU", (0, _INF))
    gpu_request_w: float = _opt(
        5.0, "clock", "/dcgm/metrics: additional watts for each request in flight", (0, _INF)
    )
    seed: int = _opt(0, "clock", "seed of jitter, faults, early stops and texts", (0, 2**31))
    default_output: int = _opt(128, "answers", "tokens if the request has no limit", (1, 2**31))
    early_stop: float = _opt(0.0, "answers", "share that stops early unless ignore_eos", (0, 1))
    reasoning: int = _opt(
        0, "answers", "chat: number of reasoning tokens before the answer", (0, 2**31)
    )
    reasoning_field: str = _opt(
        "reasoning", "answers", "reasoning field", choices=("reasoning", "reasoning_content")
    )
    request_metrics: bool = _opt(
        False, "answers", "send each request's queue and prefill time with its usage, as vLLM can"
    )
    tool_calls: bool = _opt(False, "answers", "chat: answer with a tool call")
    spec_tokens: int = _opt(0, "answers", "speculative decoding: draft tokens per step", (0, 64))
    spec_acceptance: float = _opt(0.7, "answers", "share of draft tokens accepted", (0, 1))
    dimensions: int = _opt(64, "answers", "dimensions of an embedding", (1, 2**31))
    count: str = _opt(
        "tokenizer", "answers", "how to count text prompts", choices=("tokenizer", "words")
    )
    faults: Faults = NONE
    fault_rate: float = _opt(1.0, "faults", "share of the requests that get --fault", (0, 1))
    die_with_stdin: bool = _opt(
        False, "for programs that start it", "stop when standard input closes"
    )
    parent: int = _opt(
        0,
        "for programs that start it",
        "stop when this parent process dies (Linux)",
        (0, 2**31),
        metavar="PID",
    )


def parser() -> argparse.ArgumentParser:
    p = CommandParser(
        "llmbench sim",
        "An LLM server without a model: real HTTP, the protocols of real servers, known token "
        "times.",
        epilog="Headers for one request: x-sim-fault (like --fault), x-sim-ttft-ms, "
        "x-sim-itl-ms, x-sim-reasoning, x-sim-tool-calls",
    )
    groups: dict[str, argparse._ArgumentGroup] = {}
    for field in dataclasses.fields(Settings):
        if not field.metadata:
            continue
        title = field.metadata["group"]
        if title not in groups:
            groups[title] = p.add_argument_group(title)
        _add(groups[title], field)
    listing = "; ".join(f"{name}: {text}" for name, (_, _, text) in HELP.items())
    faults = groups["faults"]
    faults.add_argument(
        *("--fault",), action="append", default=[], metavar="NAME[=K],…", help=_percent(listing)
    )
    faults.add_argument(
        "--error-rate",
        type=bounded(float, 0, 1),
        metavar="P",
        help="short for --fault status=500 --fault-rate P",
    )
    return p


def _add(group: argparse._ArgumentGroup, field: dataclasses.Field[object]) -> None:
    row = dict(field.metadata)
    help_text, bounds, scale = row.pop("help"), row.pop("bounds"), row.pop("scale", None)
    row.pop("group")
    name = row.pop("flag", f"--{field.name.replace('_', '-')}")
    if field.type == "bool":
        group.add_argument(name, dest=field.name, action="store_true", help=_percent(help_text))
        return
    default = field.default if scale is None else round(field.default / scale, 9)
    if default is not None:
        shown = f"{default:g}" if isinstance(default, float) else str(default)
        help_text = f"{help_text} (default {shown})"
    if bounds is not None:
        row["type"] = bounded(int if "int" in str(field.type) else float, *bounds)
    if "choices" not in row:
        row.setdefault("metavar", "N" if bounds else "TEXT")
    group.add_argument(name, dest=field.name, default=default, help=_percent(help_text), **row)


def _percent(text: str) -> str:
    return text.replace("%", "%%")


def parse(argv: list[str]) -> Settings:
    """Parse a command line. Raises ConfigError; `--help` exits as argparse does."""
    given = vars(parser().parse_args(argv))
    fault, error_rate = given.pop("fault"), given.pop("error_rate")
    fault_text = ",".join(fault)
    if error_rate is not None:
        if fault:
            raise ConfigError("--error-rate: cannot be used with --fault; give one of them")
        fault_text, given["fault_rate"] = ("status=500", error_rate) if error_rate else ("", 1.0)
    if given["tls_key"] and not given["tls_cert"]:
        raise ConfigError("--tls-key: needs --tls-cert")
    for field in dataclasses.fields(Settings):
        if "scale" in field.metadata:
            given[field.name] *= field.metadata["scale"]
    given["host"] = given["host"].strip("[]")
    return Settings(**given, faults=parse_faults(fault_text))
