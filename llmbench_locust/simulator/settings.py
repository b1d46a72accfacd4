"""Everything the simulator can be told, as one frozen value, and the command line that makes it."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field

from llmbench_locust.command_parser import CommandParser
from llmbench_locust.errors import ConfigError
from llmbench_locust.simulator.faults import HELP, NONE, Faults, parse_faults


@dataclass(frozen=True, slots=True)
class Settings:
    """Times in seconds, rates in tokens per second."""

    host: str = "127.0.0.1"
    port: int = 8000
    model: str = "sim"
    clock: str = "engine"
    ttft_s: float = 0.05
    itl_s: float = 0.01
    jitter: float = 0.0
    prefill_rate: float = 200_000.0
    step_s: float = 0.006
    step_per_seq_s: float = 0.00003
    max_num_seqs: int = 256
    max_batched_tokens: int = 8192
    kv_tokens: int | None = None
    prefix_cache: int = 0
    block_size: int = 16
    request_metrics: bool = False
    gpu_idle_w: float = 100.0
    gpu_request_w: float = 5.0
    max_model_len: int = 131_072
    default_output: int = 128
    reasoning: int = 0
    reasoning_field: str = "reasoning"
    tool_calls: bool = False
    early_stop: float = 0.0
    spec_tokens: int = 0
    spec_acceptance: float = 0.7
    dimensions: int = 64
    count: str = "tokenizer"
    strict_model: bool = False
    api_key: str | None = field(default=None, repr=False)
    tls_cert: str | None = None
    tls_key: str | None = None
    faults: Faults = NONE
    fault_rate: float = 1.0
    seed: int = 0
    log: str | None = None
    keep: int = 10_000
    die_with_stdin: bool = False
    parent: int = 0


def _number(low: float, high: float = float("inf")) -> type:
    def convert(text: str) -> float:
        value = float(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(
                f"{text} is not allowed; a number from {low:g} to {high:g}"
            )
        return value

    convert.__name__ = "number"
    return convert  # type: ignore[return-value]


def _whole(low: int, high: int = 2**31) -> type:
    def convert(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(
                f"{text} is not allowed; a whole number from {low} to {high}"
            )
        return value

    convert.__name__ = "whole number"
    return convert  # type: ignore[return-value]


def parser() -> argparse.ArgumentParser:
    d = Settings()
    p = CommandParser(
        "llmbench sim",
        "An LLM server without a model: real HTTP, the protocols of real servers, token times "
        "that are known.",
        epilog="Headers for one request: x-sim-fault (like --fault), x-sim-ttft-ms, "
        "x-sim-itl-ms, x-sim-reasoning, x-sim-tool-calls",
    )
    g = p.add_argument_group("server")
    g.add_argument(
        "--host", default=d.host, help=f"address to listen on, IPv4 or IPv6 (default {d.host})"
    )
    g.add_argument(
        "--port",
        type=_whole(0, 65535),
        default=d.port,
        help=f"0: any free one, printed (default {d.port})",
    )
    g.add_argument("--model", default=d.model, help=f"the model's name (default {d.model})")
    g.add_argument("--strict-model", action="store_true", help="404 for any other model, as vLLM")
    g.add_argument("--api-key", help="refuse requests without this bearer token (or x-api-key)")
    g.add_argument("--tls-cert", metavar="FILE", help="serve HTTPS with this certificate (PEM)")
    g.add_argument("--tls-key", metavar="FILE", help="its key; default: in the certificate's file")
    g.add_argument(
        "--max-model-len",
        type=_whole(1),
        default=d.max_model_len,
        help=f"(default {d.max_model_len})",
    )
    g.add_argument(
        "--log",
        metavar="FILE",
        help="append a JSON line for each request: t (CLOCK_MONOTONIC), sha, id, path, …",
    )
    g.add_argument(
        "--keep",
        type=_whole(0),
        default=d.keep,
        help=f"requests listed by /sim/stats (default {d.keep})",
    )
    _time_arguments(p, d)
    _answer_arguments(p, d)
    g = p.add_argument_group("faults")
    listing = "; ".join(f"{name}: {text}" for name, (_, _, text) in HELP.items())
    g.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="NAME[=K],…",
        help=listing.replace("%", "%%"),
    )
    g.add_argument(
        "--fault-rate",
        type=_number(0, 1),
        default=1.0,
        help="share of the requests that get --fault (default 1)",
    )
    g.add_argument(
        "--error-rate", type=_number(0, 1), help="short for --fault status=500 --fault-rate P"
    )
    g = p.add_argument_group("for programs that start it")
    g.add_argument("--die-with-stdin", action="store_true", help="stop when standard input closes")
    g.add_argument(
        "--parent",
        type=_whole(0),
        default=0,
        metavar="PID",
        help="stop when this parent process dies (Linux)",
    )
    return p


def _time_arguments(p: argparse.ArgumentParser, d: Settings) -> None:
    g = p.add_argument_group("clock")
    g.add_argument(
        "--clock",
        choices=("engine", "fixed"),
        default=d.clock,
        help="engine: continuous batching; fixed: as told (default engine)",
    )
    ms = _number(0, 3_600_000)
    g.add_argument(
        "--ttft-ms",
        type=ms,
        default=d.ttft_s * 1e3,
        help="fixed: first token after the arrival (default 50)",
    )
    g.add_argument(
        "--itl-ms", type=ms, default=d.itl_s * 1e3, help="fixed: between token events (default 10)"
    )
    g.add_argument(
        "--jitter",
        type=_number(0, 1),
        default=0.0,
        help="fixed: each gap times 1 ± J, uniform, by seed (default 0)",
    )
    g.add_argument(
        "--prefill-rate",
        type=_number(1),
        default=d.prefill_rate,
        help="engine: prompt tokens/s (default 200000)",
    )
    g.add_argument(
        "--step-ms",
        type=ms,
        default=d.step_s * 1e3,
        help="engine: a step of an empty batch (default 6)",
    )
    g.add_argument(
        "--step-per-seq-ms",
        type=ms,
        default=d.step_per_seq_s * 1e3,
        help="engine: + per sequence (default 0.03)",
    )
    g.add_argument(
        "--max-num-seqs",
        type=_whole(1),
        default=d.max_num_seqs,
        help="engine: sequences at once (default 256)",
    )
    g.add_argument(
        "--max-batched-tokens",
        type=_whole(1),
        default=d.max_batched_tokens,
        help="engine: a step (default 8192)",
    )
    g.add_argument(
        "--kv-tokens",
        type=_whole(1),
        help="engine: size of the KV cache; the youngest sequence is preempted when it is full "
        "(default no limit)",
    )
    g.add_argument(
        "--prefix-cache",
        type=_whole(0),
        default=0,
        metavar="BLOCKS",
        help="keep this many blocks of prompts; cached tokens need no prefill (default 0: off)",
    )
    g.add_argument(
        "--block-size", type=_whole(1), default=d.block_size, help="tokens a block (default 16)"
    )
    g.add_argument(
        "--gpu-idle-w",
        type=_number(0),
        default=d.gpu_idle_w,
        help="/dcgm/metrics: watts of the idle GPU (default 100)",
    )
    g.add_argument(
        "--gpu-request-w",
        type=_number(0),
        default=d.gpu_request_w,
        help="/dcgm/metrics: watts more for each request in flight (default 5)",
    )
    g.add_argument(
        "--seed",
        type=_whole(0),
        default=0,
        help="of jitter, faults, early stops, texts (default 0)",
    )


def _answer_arguments(p: argparse.ArgumentParser, d: Settings) -> None:
    g = p.add_argument_group("answers")
    g.add_argument(
        "--default-output",
        type=_whole(1),
        default=d.default_output,
        help="tokens when none asked for (default 128)",
    )
    g.add_argument(
        "--early-stop",
        type=_number(0, 1),
        default=0.0,
        help="share that stops early unless ignore_eos (default 0)",
    )
    g.add_argument(
        "--reasoning",
        type=_whole(0),
        default=0,
        help="chat: this many tokens of reasoning come first (default 0)",
    )
    g.add_argument(
        "--reasoning-field",
        choices=("reasoning", "reasoning_content"),
        default=d.reasoning_field,
        help="its name in a delta",
    )
    g.add_argument(
        "--request-metrics",
        action="store_true",
        help="tell each request's queue and prefill time beside its usage, as vLLM can",
    )
    g.add_argument("--tool-calls", action="store_true", help="chat: answer with a tool call")
    g.add_argument(
        "--spec-tokens",
        type=_whole(0, 64),
        default=0,
        help="speculative decoding: draft tokens a step (default 0)",
    )
    g.add_argument(
        "--spec-acceptance",
        type=_number(0, 1),
        default=d.spec_acceptance,
        help="of each draft token (default 0.7)",
    )
    g.add_argument(
        "--dimensions", type=_whole(1), default=d.dimensions, help="of an embedding (default 64)"
    )
    g.add_argument(
        "--count",
        choices=("tokenizer", "words"),
        default=d.count,
        help="how prompts of text are counted (default tokenizer)",
    )


def parse(argv: list[str]) -> Settings:
    """Command line → Settings. Raises ConfigError for bad input; `--help` exits as argparse does."""
    a = parser().parse_args(argv)
    fault_text, fault_rate = ",".join(a.fault), a.fault_rate
    if a.error_rate is not None:
        if a.fault:
            raise ConfigError("--error-rate: is itself a --fault; give one of them")
        fault_text, fault_rate = ("status=500", a.error_rate) if a.error_rate else ("", 1.0)
    if a.tls_key and not a.tls_cert:
        raise ConfigError("--tls-key: needs --tls-cert")
    return Settings(
        host=a.host.strip("[]"),
        port=a.port,
        model=a.model,
        clock=a.clock,
        ttft_s=a.ttft_ms / 1e3,
        itl_s=a.itl_ms / 1e3,
        jitter=a.jitter,
        prefill_rate=a.prefill_rate,
        step_s=a.step_ms / 1e3,
        step_per_seq_s=a.step_per_seq_ms / 1e3,
        max_num_seqs=a.max_num_seqs,
        max_batched_tokens=a.max_batched_tokens,
        kv_tokens=a.kv_tokens,
        prefix_cache=a.prefix_cache,
        block_size=a.block_size,
        request_metrics=a.request_metrics,
        gpu_idle_w=a.gpu_idle_w,
        gpu_request_w=a.gpu_request_w,
        max_model_len=a.max_model_len,
        default_output=a.default_output,
        reasoning=a.reasoning,
        reasoning_field=a.reasoning_field,
        tool_calls=a.tool_calls,
        early_stop=a.early_stop,
        spec_tokens=a.spec_tokens,
        spec_acceptance=a.spec_acceptance,
        dimensions=a.dimensions,
        count=a.count,
        strict_model=a.strict_model,
        api_key=a.api_key,
        tls_cert=a.tls_cert,
        tls_key=a.tls_key,
        faults=parse_faults(fault_text),
        fault_rate=fault_rate,
        seed=a.seed,
        log=a.log,
        keep=a.keep,
        die_with_stdin=a.die_with_stdin,
        parent=a.parent,
    )
