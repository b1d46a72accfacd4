"""Every flag as data: name, kind, default, help, group. What is not here is no flag of ours.

``kind`` is what `values.read` makes of the text: int, float, text, choice, bool, truth (true,
false, or not given), pairs (KEY=VALUE words, quoted as in a shell), words (without blanks in them),
json (an object). Defaults are those of the `vllm bench serve` page.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

INF = float("inf")


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag. ``choices``: allowed values. ``secret``: masked on the web, never written.
    ``metavar``: its value in help.
    """

    name: str
    kind: str
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    secret: bool = False
    metavar: str = ""

    @property
    def dest(self) -> str:
        return self.name.replace("-", "_")


DATASETS = (
    "sharegpt",
    "burstgpt",
    "sonnet",
    "random",
    "random-mm",
    "random-rerank",
    "hf",
    "custom",
    "custom_image",
    "custom_audio",
    "prefix_repetition",
    "spec_bench",
    "timed_trace",
    "azure",
)

GROUPS: dict[str, tuple[Flag, ...]] = {
    "benchmark": (
        Flag("seed", "int", 0, "Seed of the workload and of the arrivals."),
        Flag("num-prompts", "int", 1000, "Number of requests."),
        Flag("dataset-name", "choice", "random", "The workload.", DATASETS),
        Flag(
            "dataset-path",
            "text",
            None,
            "Path of the dataset's file, or the Hugging Face id with hf.",
        ),
        Flag(
            "no-stream", "bool", False, "Load a Hugging Face dataset whole instead of streaming it."
        ),
        Flag(
            "no-oversample",
            "bool",
            False,
            "Do not repeat samples of a dataset that has fewer than --num-prompts.",
        ),
        Flag(
            "skip-chat-template",
            "bool",
            False,
            "Send prompts as they are where a dataset would apply the chat template.",
        ),
        Flag("disable-shuffle", "bool", False, "Keep the order of the dataset's file."),
        Flag(
            "enable-multimodal-chat",
            "bool",
            False,
            "Make chat messages of multi-modal samples in the dataset.",
        ),
        Flag(
            "label", "text", None, "Prefix of the result file's name; the backend when not given."
        ),
        Flag("backend", "text", "openai", "The protocol; see docs/backends.md."),
        Flag(
            "base-url",
            "text",
            None,
            "Scheme, host and port of the server, in place of --host and --port.",
        ),
        Flag("port", "int", 8000, "Port, where --host is a bare host."),
        Flag(
            "endpoint",
            "text",
            None,
            "Path of the endpoint; the backend's own when not given (openai: /v1/completions).",
        ),
        Flag(
            "header",
            "pairs",
            None,
            "Headers for each request, as KEY=VALUE ...",
            secret=True,
            metavar="KEY=VALUE",
        ),
        Flag(
            "max-concurrency",
            "int",
            None,
            "At most so many requests in flight; others wait, first in first out.",
        ),
        Flag("model", "text", None, "Name of the model; the first of /v1/models when not given."),
        Flag(
            "served-model-name",
            "text",
            None,
            "The model's name in the API, when it differs from --model.",
        ),
        Flag(
            "tokenizer", "text", None, "Name or path of the tokenizer, when it is not the model's."
        ),
        Flag(
            "tokenizer-mode",
            "text",
            "auto",
            "auto, hf, slow, mistral; deepseek_v32 and plugins' own where vLLM is installed.",
        ),
        Flag("trust-remote-code", "bool", False, "Trust code that comes with a tokenizer."),
        Flag(
            "skip-tokenizer-init",
            "bool",
            False,
            "Load no tokenizer; for datasets that carry their own lengths.",
        ),
        Flag(
            "use-beam-search", "bool", False, "Ask for beam search (use_beam_search in the body)."
        ),
        Flag("logprobs", "int", None, "Log probabilities for each token, in the request."),
        Flag(
            "request-rate",
            "float",
            INF,
            "Requests per second; inf sends all at once, else arrivals are random.",
        ),
        Flag(
            "burstiness",
            "float",
            1.0,
            "Shape of the gamma arrivals: 1 Poisson, below bursty, above even, inf constant.",
        ),
        Flag(
            "probe-request-rate",
            "float",
            0.0,
            "Besides the workload, so many one-token requests a second, past the cap and in "
            "figures of their own; 0 for none.",
        ),
        Flag("disable-tqdm", "bool", False, "No progress bars."),
        Flag("num-warmups", "int", 0, "Requests before the clock starts, in no figure."),
        Flag(
            "vllm-profile",
            "bool",
            False,
            "Start and stop vLLM's profiler around the run (--profile of vLLM).",
        ),
        Flag("save-result", "bool", False, "Write the result JSON."),
        Flag("save-detailed", "bool", False, "Keep the arrays of each request in it."),
        Flag(
            "append-result",
            "bool",
            False,
            "Append the result to an existing file, one JSON line each.",
        ),
        Flag(
            "metadata",
            "pairs",
            None,
            "KEY=VALUE ... that are written into the result.",
            metavar="KEY=VALUE",
        ),
        Flag(
            "result-dir", "text", None, "Directory of the result; the current one when not given."
        ),
        Flag(
            "result-filename",
            "text",
            None,
            "Name of the result file; made of label, rate, model and time when not given.",
        ),
        Flag(
            "ignore-eos", "bool", False, "Ask the server to go on to the length that was asked for."
        ),
        Flag(
            "percentile-metrics",
            "text",
            None,
            "Comma-separated, of ttft, tpot, itl, e2el; all but e2el by default, e2el for pooling.",
        ),
        Flag("metric-percentiles", "text", "99", "Comma-separated percentiles."),
        Flag(
            "goodput",
            "words",
            None,
            "Objectives as KEY:VALUE ... in ms, of ttft, tpot, e2el.",
            metavar="KEY:MS",
        ),
        Flag(
            "request-id-prefix",
            "text",
            None,
            "Prefix of the request ids; a random one when not given.",
        ),
        Flag(
            "lora-modules",
            "words",
            None,
            "Names of LoRA modules, one of which each request asks for.",
            metavar="NAME",
        ),
        Flag(
            "lora-assignment",
            "choice",
            "random",
            "How requests get a LoRA module.",
            ("random", "round-robin"),
        ),
        Flag(
            "ramp-up-strategy",
            "choice",
            None,
            "Raise the rate over the run.",
            ("linear", "exponential"),
        ),
        Flag("ramp-up-start-rps", "float", None, "Requests per second at the start of the ramp."),
        Flag("ramp-up-end-rps", "float", None, "Requests per second at its end."),
        Flag(
            "ready-check-timeout-sec",
            "float",
            600,
            "Wait so long for the server to answer one request; 0 skips the check.",
        ),
        Flag(
            "extra-body",
            "json",
            None,
            "JSON object merged into each body; or --extra-body.KEY VALUE.",
        ),
        Flag(
            "chat-template-kwargs",
            "json",
            None,
            "JSON object for the chat template, whether the dataset applies it or the server.",
        ),
        Flag(
            "input-len",
            "int",
            None,
            "Input length for the dataset in use; wins over the dataset's own flag.",
        ),
        Flag(
            "output-len",
            "int",
            None,
            "Output length for the dataset in use; wins over the dataset's own flag.",
        ),
        Flag("insecure", "bool", False, "Do not verify certificates."),
        Flag(
            "plot-timeline",
            "bool",
            False,
            "Write a timeline of the requests as HTML beside the result.",
        ),
        Flag(
            "timeline-itl-thresholds",
            "text",
            "25,50",
            "Two ITL thresholds in ms that colour the timeline.",
        ),
        Flag(
            "plot-dataset-stats",
            "bool",
            False,
            "Write the distributions of input and output lengths beside the result.",
        ),
    ),
    "custom dataset": (
        Flag("custom-output-len", "int", 256, "Output tokens; -1 takes each line's output_tokens."),
        Flag(
            "custom-ensure-client-side-data",
            "bool",
            False,
            "Read the images that custom_image names, and send them as data.",
        ),
    ),
    "spec bench dataset": (
        Flag("spec-bench-output-len", "int", 256, "Output tokens."),
        Flag("spec-bench-category", "text", None, "Only this category."),
    ),
    "sonnet dataset": (
        Flag("sonnet-input-len", "int", 550, "Input tokens."),
        Flag("sonnet-output-len", "int", 150, "Output tokens."),
        Flag("sonnet-prefix-len", "int", 200, "Input tokens that all prompts share."),
    ),
    "sharegpt dataset": (
        Flag("sharegpt-output-len", "int", None, "Output tokens, in place of the dataset's own."),
    ),
    "blazedit dataset": (
        Flag("blazedit-min-distance", "float", 0.0, "Least normalised edit distance, 0 to 1."),
        Flag("blazedit-max-distance", "float", 1.0, "Greatest normalised edit distance, 0 to 1."),
    ),
    "asr dataset": (
        Flag("asr-min-audio-len-sec", "float", 0.0, "Leave out shorter audio, in seconds."),
        Flag("asr-max-audio-len-sec", "float", INF, "Leave out longer audio, in seconds."),
    ),
    "random dataset": (
        Flag("random-input-len", "int", 1024, "Input tokens."),
        Flag("random-output-len", "int", 128, "Output tokens."),
        Flag(
            "random-range-ratio",
            "text",
            "0.0",
            'Lengths vary by ± this share: in [0, 1), or {"input": a, "output": b}.',
        ),
        Flag(
            "random-prefix-len", "int", 0, "Tokens before the random part that all prompts share."
        ),
        Flag("random-batch-size", "int", 1, "Prompts in one request; for embeddings."),
        Flag("common-prefix-len", "int", None, "Another name of --random-prefix-len."),
        Flag("no-reranker", "bool", False, "The model of random-rerank is no cross-encoder."),
    ),
    "random multi-modal dataset": (
        Flag("random-mm-base-items-per-request", "int", 1, "Items in a request."),
        Flag(
            "random-mm-num-mm-items-range-ratio",
            "float",
            0.0,
            "The number of items varies by ± this share, in [0, 1].",
        ),
        Flag(
            "random-mm-limit-mm-per-prompt",
            "json",
            {"image": 255, "video": 1},
            "JSON object: most items by modality.",
        ),
        Flag(
            "random-mm-bucket-config",
            "json",
            {"(256, 256, 1)": 0.5, "(720, 1280, 1)": 0.5, "(720, 1280, 16)": 0.0},
            'JSON object: "(height, width, frames)" to its probability.',
        ),
    ),
    "hf dataset": (
        Flag("hf-subset", "text", None, "Subset."),
        Flag("hf-split", "text", None, "Split."),
        Flag(
            "hf-name",
            "text",
            None,
            "The dataset's name on the hub, where --dataset-path is a local copy.",
        ),
        Flag("hf-output-len", "int", None, "Output tokens, in place of the dataset's own."),
        Flag(
            "hf-prompt-column",
            "text",
            None,
            "Column of the prompt, for any dataset that is not known by name.",
        ),
        Flag(
            "hf-output-column",
            "text",
            None,
            "Column of a reference answer, whose length becomes the output length.",
        ),
        Flag("bfcl-categories", "text", None, "Comma-separated categories of BFCL."),
    ),
    "prefix repetition dataset": (
        Flag("prefix-repetition-prefix-len", "int", 256, "Tokens of the prefix."),
        Flag("prefix-repetition-suffix-len", "int", 256, "Tokens of the suffix."),
        Flag("prefix-repetition-num-prefixes", "int", 10, "Number of prefixes."),
        Flag("prefix-repetition-output-len", "int", 128, "Output tokens."),
    ),
    "traces": (
        Flag(
            "self-timed",
            "truth",
            None,
            "Send at the trace's own times, or not; timed_trace does unless told otherwise.",
        ),
        Flag("trace-speedup", "float", 1.0, "Replay a trace so many times as fast."),
        Flag("timed-trace-chunk-hash-size", "int", 16, "Tokens that one hash id stands for."),
        Flag(
            "timed-trace-sec-multiplier",
            "float",
            1.0,
            "Seconds in one unit of the trace's timestamps.",
        ),
        Flag("timed-trace-label-timestamp", "text", "timestamp", "Key of the time."),
        Flag("timed-trace-label-input-length", "text", "input_length", "Key of the input length."),
        Flag(
            "timed-trace-label-output-length", "text", "output_length", "Key of the output length."
        ),
        Flag("timed-trace-label-hash-ids", "text", "hash_ids", "Key of the hash ids."),
    ),
    "conversations and mixes": (
        Flag(
            "multi-turn",
            "bool",
            False,
            "Play whole conversations: a turn follows the answer to the one before.",
        ),
        Flag(
            "think-time",
            "text",
            "0",
            "Seconds between an answer and the next turn: a number or MIN:MAX.",
        ),
        Flag("mix", "text", None, "JSON file: several workloads with weights and labels."),
    ),
    "sampling parameters": (
        Flag("top-p", "float", None, "Top-p."),
        Flag("top-k", "int", None, "Top-k."),
        Flag("min-p", "float", None, "Min-p."),
        Flag("temperature", "float", None, "Temperature; 0.0 (greedy) when not given."),
        Flag("frequency-penalty", "float", None, "Frequency penalty."),
        Flag("presence-penalty", "float", None, "Presence penalty."),
        Flag("repetition-penalty", "float", None, "Repetition penalty."),
    ),
    "llmbench-locust": (
        Flag("sim", "bool", False, "Start the embedded simulator and benchmark it."),
        Flag("sim-args", "text", None, "Arguments of the simulator, as llmbench sim takes them."),
        Flag(
            "request-timeout",
            "float",
            None,
            "Seconds after which a request fails; none when not given.",
        ),
        Flag("llm-html", "text", None, "Write a self-contained HTML report to this file."),
        Flag(
            "per-request",
            "text",
            None,
            "Write one row for each request to this file: .csv or .parquet.",
        ),
        Flag(
            "kernel-timestamps",
            "truth",
            None,
            "Arrival times by the kernel; not given: where it has them.",
        ),
        Flag(
            "max-exact-tokens",
            "int",
            20_000_000,
            "Token events kept exactly; past that, histograms (0.1% relative error).",
        ),
        Flag(
            "progress-stats",
            "bool",
            False,
            "Show Locust's own table every two seconds in headless mode.",
        ),
    ),
}

FLAGS: dict[str, Flag] = {flag.dest: flag for flags in GROUPS.values() for flag in flags}
JSON_FLAGS: tuple[str, ...] = tuple(f.name for f in FLAGS.values() if f.kind == "json")


def fresh_prefix() -> str:
    """A random prefix for request ids, as vLLM makes one."""
    return f"bench-{uuid.uuid4().hex[:8]}-"
