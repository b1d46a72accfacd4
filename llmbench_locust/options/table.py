"""Every flag as data, by group. A section is a base of `RunConfig`: a flag's row is the field that
it fills (`options.flag`). Defaults are those of the `vllm bench serve` page.
"""

from __future__ import annotations

from llmbench_locust.backends import backend_names
from llmbench_locust.datasets import dataset_names
from llmbench_locust.json_types import Json
from llmbench_locust.options import checks, dataset_flags
from llmbench_locust.options.flag import INF, Flag, dataset_flag, flag, rows, section
from llmbench_locust.options.own_flags import Behaviour, Capacity, Cost


@section
class Benchmark:
    seed: int = dataset_flag(
        0, "Seed of the workload and of the arrival times.", least=0, most=2**32 - 1
    )
    num_prompts: int = flag(
        1000,
        "Number of requests; -1 sends all of spec_bench, speed_bench or a file of sessions, inf "
        "sends until --duration is over.",
        kind="text",
        parse=checks.num_prompts,
    )
    dataset_name: str = dataset_flag(
        "random", "Dataset of the prompts.", allowed=dataset_names, metavar="NAME"
    )
    dataset_path: str = dataset_flag(
        None,
        "File of the dataset; with hf, its name on the Hugging Face hub.",
        parse=checks.or_empty,
    )
    no_stream: bool = dataset_flag(
        False, "Load a Hugging Face dataset completely instead of streaming it."
    )
    no_oversample: bool = dataset_flag(
        False, "Do not repeat prompts when the dataset has fewer than --num-prompts."
    )
    skip_chat_template: bool = dataset_flag(
        False, "Send prompts without the tokenizer's chat template."
    )
    disable_shuffle: bool = dataset_flag(False, "Keep the order of the dataset.")
    enable_multimodal_chat: bool = dataset_flag(
        False, "Turn multi-modal prompts into chat messages when the dataset is loaded."
    )
    label: str | None = flag(
        None,
        "Start of the result file's name. Default: the name of the backend.",
        parse=checks.file_name("--label"),
    )
    backend: str = flag(
        "openai", "API that the server speaks.", allowed=backend_names, metavar="NAME"
    )
    base_url: str = flag(
        None,
        "URL of the server, such as http://host:8000; used instead of --host and --port. "
        "Repeatable: --balance then chooses the server of each request.",
        repeats=True,
    )
    port: int = flag(8000, "Port of the server, when --host does not name one.")
    endpoint: str = flag(
        None, "Path of the API. Default: that of the backend (openai: /v1/completions)."
    )
    header: dict[str, str] = flag(
        None,
        "Headers to send with each request, as KEY=VALUE ...",
        secret=True,
        metavar="KEY=VALUE",
    )
    header_file: str | None = flag(
        None,
        "File of headers to send, one KEY=VALUE a line; keeps secrets out of the process list.",
        metavar="FILE",
    )
    max_concurrency: int | None = flag(
        None,
        "Maximum number of requests in flight; further requests wait in order of arrival.",
        least=1,
    )
    model: str | None = flag(
        None, "Name of the model. Default: the first model that the server lists."
    )
    served_model_name: str | None = flag(
        None, "Name of the model in the API, when it differs from --model."
    )
    tokenizer: str | None = flag(None, "Name or path of the tokenizer. Default: that of the model.")
    tokenizer_mode: str = flag(
        "auto",
        "auto, hf, slow or mistral; also the modes of vLLM and its plugins, if vLLM is installed.",
    )
    trust_remote_code: bool = flag(False, "Run code that comes with the tokenizer.")
    skip_tokenizer_init: bool = flag(
        False, "Do not load a tokenizer; for custom datasets. Token figures are not shown."
    )
    use_beam_search: bool = flag(False, "Ask the server for beam search.")
    logprobs: int | None = flag(
        None, "Number of log probabilities to ask for with each token.", least=0
    )
    request_rate: float = flag(
        INF, "Requests per second, at random times; inf sends all requests at once.", above=0
    )
    burstiness: float = flag(
        1.0,
        "Burstiness of the arrivals: 1 is a Poisson process, less is burstier, more is steadier, "
        "inf is a constant interval.",
        above=0,
    )
    probe_request_rate: float = flag(
        0.0,
        "Probe requests per second: extra one-token requests, not limited by "
        "--max-concurrency and reported separately. 0 sends none.",
        least=0,
        finite=True,
    )
    disable_tqdm: bool = flag(False, "Show no progress bars.")
    num_warmups: int = flag(0, "Warm-up requests before the run; they are not counted.", least=0)
    vllm_profile: bool = flag(
        False, "Start vLLM's profiler before the run and stop it afterwards (vLLM's --profile)."
    )
    save_result: bool = flag(False, "Write the result to a JSON file.")
    save_detailed: bool = flag(False, "Include the values of each request in the result file.")
    append_result: bool = flag(
        False, "Append the result to the file as one JSON line instead of replacing the file."
    )
    metadata: dict[str, str] = flag(
        None,
        "KEY=VALUE ... to write into the result file.",
        metavar="KEY=VALUE",
        parse=checks.metadata,
    )
    result_dir: str | None = flag(
        None, "Directory of the result file. Default: the current directory."
    )
    result_filename: str | None = flag(
        None,
        "Name of the result file. Default: made of label, rate, model and time.",
        parse=checks.file_name("--result-filename"),
    )
    ignore_eos: bool = flag(False, "Ask the server to generate all requested tokens.")
    percentile_metrics: tuple[str, ...] = flag(
        None,
        "Comma-separated latencies to report: ttft, ttfo, tpot, itl, e2el. Default: ttft,tpot,itl; "
        "for pooling e2el.",
        kind="text",
    )
    metric_percentiles: tuple[float, ...] = flag(
        "99", "Comma-separated percentiles to report.", parse=checks.percentiles
    )
    goodput: dict[str, float] = flag(
        None,
        "Latency objectives in milliseconds, as KEY:MS ..., of ttft, ttfo, tpot and e2el.",
        kind="words",
        metavar="KEY:MS",
    )
    request_id_prefix: str = flag(None, "Start of every request id. Default: a random prefix.")
    lora_modules: tuple[str, ...] = flag(
        None, "LoRA modules; each request uses one of them.", metavar="NAME"
    )
    lora_assignment: str = flag(
        "random", "How LoRA modules are assigned to requests; session: one for each session.",
        allowed=("random", "round-robin", "session"),
    )  # fmt: skip
    ramp_up_strategy: str | None = flag(
        None, "Increase the request rate during the run.", allowed=("linear", "exponential")
    )
    ramp_up_start_rps: float | None = flag(
        None, "Requests per second at the start of the ramp.", least=0, finite=True
    )
    ramp_up_end_rps: float | None = flag(
        None, "Requests per second at the end of the ramp.", least=0, finite=True
    )
    ready_check_timeout_sec: float = flag(
        600, "Seconds to wait for the server to become ready (0 skips the check).", least=0
    )
    extra_body: Json = flag(
        None, "JSON object to merge into each request body; or --extra-body.KEY VALUE."
    )
    chat_template_kwargs: Json = flag(
        None, "JSON object of arguments for the chat template, on the client or the server."
    )
    input_len: int | None = dataset_flag(
        None, "Input tokens; overrides the dataset's own flag.", least=0
    )
    output_len: int | None = dataset_flag(
        None, "Output tokens; overrides the dataset's own flag.", least=1
    )
    insecure: bool = flag(False, "Do not verify TLS certificates.")
    plot_timeline: bool = flag(
        False, "Write a timeline of the requests as an HTML file beside the result."
    )
    timeline_itl_thresholds: tuple[float, float] = flag(
        "25,50",
        "Two inter-token latencies in milliseconds where the timeline changes its color.",
        parse=checks.thresholds,
    )
    plot_dataset_stats: bool = flag(
        False, "Write a plot of the input and output lengths beside the result."
    )


@section
class Own:
    sim: bool = flag(False, "Start the built-in simulator and benchmark it.")
    sim_args: str = flag(
        None, "Arguments of the simulator (see llmbench sim --help).", parse=checks.or_empty
    )
    request_timeout_s: float | None = flag(
        None,
        "Seconds after which a request fails. Default: no limit.",
        name="request-timeout",
        above=0,
        finite=True,
    )
    compat: str = flag(
        "0.11",
        "Use the defaults of this version of vllm bench serve. 0.33 skips the ready check and "
        "sends no temperature, unless they are given.",
        allowed=("0.11", "0.33"),
    )
    duration_s: float | None = checks.time_flag(
        "duration", "Send for this long, such as 60s or 5m, instead of --num-prompts requests."
    )
    journal: bool = flag(
        False,
        "Write the outcomes to a file beside the result during the run, for llmbench report. The "
        "default for a run expected to last over a minute, which removes the file at its end.",
    )
    no_journal: bool = flag(False, "Write no journal, however long the run.")
    dry_run: bool = flag(False, "Load everything, print the plan, send nothing.")
    check: tuple[str, ...] = flag(
        None,
        "Condition on a figure of the result, such as 'p99_ttft_ms<=300'; exit with status 3 if it "
        "does not hold. Repeatable.",
        kind="words",
        metavar="CONDITION",
        repeats=True,
    )
    repeat: int = flag(
        1,
        "Number of runs, one after the other, with seeds --seed, --seed + 1, …; reports their "
        "mean, interval and spread. Each file name gets the run's number.",
        least=1,
    )
    same_seed: bool = flag(False, "Use one seed for all runs of --repeat.")
    intervals: bool = flag(False, "Show 95% intervals of the figures in the console table.")
    llm_html: str | None = flag(None, "Write a self-contained HTML report to this file.")
    per_request: str | None = flag(None, "Write one row per request to this .csv or .parquet file.")
    kernel_timestamps: bool | None = flag(
        None, "Use the kernel's receive timestamps. Default: yes if the system has them."
    )
    max_exact_tokens: int = flag(
        20_000_000,
        "Token events kept exactly; beyond that, histograms with a relative error of 0.1%.",
        least=0,
    )
    prewarm_connections: int | None = flag(
        "auto",
        "Connections to open before the clock starts: a number, or auto for as many as the first "
        "seconds need.",
        kind="text",
        metavar="N|auto",
        parse=checks.prewarm,
    )
    strict: bool = flag(
        False,
        "Exit with status 4 when the result is not valid, for example when the client was the "
        "limit.",
    )
    reset_cache: str = flag(
        None,
        "Empty the server's prefix cache before the run. auto: if the server offers it and is "
        "idle; always: the run fails if it cannot be done. Default: never; with --repeat and "
        "--capacity auto.",
        allowed=("never", "auto", "always"),
    )
    cache_bust: str = flag(
        None,
        "Replace the first tokens of each prompt by a salt, so that nothing in the server's prefix "
        "cache matches. run: one salt for the run; conversation: one for each; auto: as run if the "
        "cache was not emptied, else as none. Default: none; with --repeat and --capacity auto.",
        allowed=("none", "auto", "run", "conversation"),
    )
    server_metrics: tuple[str, ...] = flag(
        None,
        "Metrics pages of the server, read once a second during the run; off reads none. Default: "
        "/metrics of the server.",
        parse=checks.metrics_urls,
        metavar="URL|off",
    )
    distribute_secrets: bool = flag(
        False,
        "Send the API key and header values to the workers, readable for anyone who can connect "
        "to the master's port. Without it, each worker takes them from its own environment.",
    )
    progress_stats: bool = flag(
        False, "Print Locust's table every two seconds in a run without the web UI."
    )


@section
class Sampling:
    """Not a base of `RunConfig`, whose ``sampling`` holds those that were given."""

    top_p: float | None = flag(None, "Top-p.", above=0, most=1, finite=True)
    top_k: int | None = flag(None, "Top-k.", least=-1)
    min_p: float | None = flag(None, "Min-p.", least=0, most=1, finite=True)
    temperature: float | None = flag(
        None, "Temperature; 0.0 (greedy) when not given.", least=0, finite=True
    )
    frequency_penalty: float | None = flag(None, "Frequency penalty.", finite=True)
    presence_penalty: float | None = flag(None, "Presence penalty.", finite=True)
    repetition_penalty: float | None = flag(None, "Repetition penalty.", above=0, finite=True)


#: Flags that vLLM does not have.
OWN_GROUP, USERS_GROUP = "llmbench-locust", "what users do"
COST_GROUP, CAPACITY_GROUP = "cost and energy", "capacity"
OWN_GROUPS = (OWN_GROUP, USERS_GROUP, COST_GROUP, CAPACITY_GROUP, "conversations and mixes")

_SECTIONS: dict[str, type] = {
    "benchmark": Benchmark,
    **dataset_flags.GROUPS,
    "sampling parameters": Sampling,
    OWN_GROUP: Own,
    USERS_GROUP: Behaviour,
    COST_GROUP: Cost,
    CAPACITY_GROUP: Capacity,
}
GROUPS: dict[str, tuple[Flag, ...]] = {name: rows(cls, name) for name, cls in _SECTIONS.items()}
FLAGS: dict[str, Flag] = {row.dest: row for group in GROUPS.values() for row in group}
JSON_FLAGS: tuple[str, ...] = tuple(row.name for row in FLAGS.values() if row.kind == "json")
SAMPLING: tuple[str, ...] = tuple(row.field for row in GROUPS["sampling parameters"])
