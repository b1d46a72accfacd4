"""The flags of the datasets, one section for each; sections are bases of `RunConfig`."""

from __future__ import annotations

from llmbench_locust.options import dataset_checks
from llmbench_locust.options.flag import INF, dataset_flag, flag, section
from llmbench_locust.options.values import MOST_TOKENS


@section
class CustomDataset:
    custom_output_len: int = dataset_flag(
        256, "Output tokens; -1 uses the 'output_tokens' of each line.", least=-1
    )
    custom_ensure_client_side_data: bool = dataset_flag(
        False, "Read the images of custom_image on the client and send their data."
    )


@section
class SpecBenchDataset:
    spec_bench_output_len: int = dataset_flag(256, "Output tokens.", least=1)
    spec_bench_category: str | None = dataset_flag(None, "Use only prompts of this category.")


@section
class SpeedBenchDataset:
    speed_bench_dataset_subset: str = dataset_flag(
        "qualitative",
        "Subset: the file SUBSET.jsonl in the directory --dataset-path.",
        allowed=(
            *("qualitative", "throughput_1k", "throughput_2k", "throughput_8k"),
            *("throughput_16k", "throughput_32k"),
        ),
        metavar="SUBSET",
    )
    speed_bench_category: str | None = dataset_flag(None, "Use only prompts of this category.")
    speed_bench_output_len: int = dataset_flag(4096, "Output tokens.", least=1)


@section
class SonnetDataset:
    sonnet_input_len: int = dataset_flag(550, "Input tokens.", least=1, most=MOST_TOKENS)
    sonnet_output_len: int = dataset_flag(150, "Output tokens.", least=1)
    sonnet_prefix_len: int = dataset_flag(
        200, "Input tokens that all prompts share.", least=0, most=MOST_TOKENS
    )


@section
class ShareGPTDataset:
    sharegpt_output_len: int | None = dataset_flag(
        None, "Output tokens; default: the length of the answer in the dataset.", least=1
    )


@section
class BlazeditDataset:
    blazedit_min_distance: float = dataset_flag(
        0.0, "Minimum normalized edit distance, from 0 to 1.", least=0
    )
    blazedit_max_distance: float = dataset_flag(
        1.0, "Maximum normalized edit distance, from 0 to 1.", most=1
    )


@section
class AsrDataset:
    asr_min_audio_len_sec: float = dataset_flag(
        0.0, "Skip audio shorter than this, in seconds.", least=0, finite=True
    )
    asr_max_audio_len_sec: float = dataset_flag(INF, "Skip audio longer than this, in seconds.")


@section
class RandomDataset:
    random_input_len: int = dataset_flag(1024, "Input tokens.", least=0, most=MOST_TOKENS)
    random_output_len: int = dataset_flag(128, "Output tokens.", least=1, most=MOST_TOKENS)
    random_range_ratio: tuple[float, float] = dataset_flag(
        "0.0",
        'Vary lengths by ± this ratio: a number in [0, 1), or {"input": a, "output": b}.',
        parse=dataset_checks.range_ratio,
    )
    random_prefix_len: int = dataset_flag(
        0, "Tokens that all prompts share, before the random part.", least=0, most=MOST_TOKENS
    )
    random_batch_size: int = dataset_flag(
        1, "Prompts in one request (pooling backends only).", least=1
    )
    common_prefix_len: int | None = dataset_flag(None, "Same as --random-prefix-len.")
    random_cache_hit_fraction: float = dataset_flag(
        0.0,
        "Share of the prompts that have a common prefix; needs --random-cache-ratio.",
        least=0,
        most=1,
    )
    random_cache_ratio: float = dataset_flag(
        0.0, "Length of that common prefix as a share of the prompt.", least=0, most=1
    )
    no_reranker: bool = dataset_flag(False, "The model of random-rerank is not a cross-encoder.")


@section
class RandomMultiModalDataset:
    random_mm_base_items_per_request: int = dataset_flag(
        1, "Images and videos in a request.", least=0
    )
    random_mm_num_mm_items_range_ratio: float = dataset_flag(
        0.0, "Vary the number of items by ± this ratio, from 0 to 1.", least=0, most=1
    )
    random_mm_limit_mm_per_prompt: dict[str, int] = dataset_flag(
        {"image": 255, "video": 1},
        "JSON object: maximum number of items of each modality in a request.",
        kind="json",
        parse=dataset_checks.mm_limits,
    )
    random_mm_bucket_config: dict[str, float] = dataset_flag(
        {"(256, 256, 1)": 0.5, "(720, 1280, 1)": 0.5, "(720, 1280, 16)": 0.0},
        'JSON object: the probability of each "(height, width, frames)".',
        kind="json",
        parse=dataset_checks.mm_buckets,
    )


@section
class HFDataset:
    hf_subset: str | None = dataset_flag(None, "Subset of the dataset.")
    hf_split: str | None = dataset_flag(None, "Split of the dataset.")
    hf_name: str | None = dataset_flag(
        None, "The dataset's name on the hub, when --dataset-path is a local copy."
    )
    hf_output_len: int | None = dataset_flag(
        None, "Output tokens; default: the dataset's own.", least=1
    )
    hf_prompt_column: str | None = dataset_flag(
        None, "Column of the prompts; works with any dataset."
    )
    hf_output_column: str | None = dataset_flag(
        None, "Column of the reference answers, whose lengths become the output lengths."
    )
    bfcl_categories: str | None = dataset_flag(None, "Comma-separated categories of BFCL.")


@section
class PrefixRepetitionDataset:
    prefix_repetition_prefix_len: int = dataset_flag(
        256, "Tokens in a prefix.", least=0, most=MOST_TOKENS
    )
    prefix_repetition_suffix_len: int = dataset_flag(
        256, "Tokens in a suffix.", least=0, most=MOST_TOKENS
    )
    prefix_repetition_num_prefixes: int = dataset_flag(10, "Number of prefixes.", least=1)
    prefix_repetition_output_len: int = dataset_flag(128, "Output tokens.", least=1)


@section
class Traces:
    self_timed: bool = dataset_flag(
        None,
        "Send each request at its time in the trace. Default: yes for timed_trace, no for others.",
        kind="truth",
    )
    trace_speedup: float = flag(1.0, "Replay speed-up factor.", above=0, finite=True)
    timed_trace_chunk_hash_size: int = dataset_flag(
        16, "Tokens in the block that one hash id stands for.", least=1
    )
    timed_trace_sec_multiplier: float = dataset_flag(
        1.0, "Seconds in one unit of the trace's timestamps.", above=0, finite=True
    )
    timed_trace_label_timestamp: str = dataset_flag("timestamp", "Key of the timestamp.")
    timed_trace_label_input_length: str = dataset_flag("input_length", "Key of the input length.")
    timed_trace_label_output_length: str = dataset_flag(
        "output_length", "Key of the output length."
    )
    timed_trace_label_hash_ids: str = dataset_flag("hash_ids", "Key of the hash ids.")


@section
class ConversationsAndMixes:
    multi_turn: bool = dataset_flag(
        False, "Send whole conversations: each turn follows the response to the previous turn."
    )
    think_time: tuple[float, float] = flag(
        "0",
        "Seconds between a response and the next turn: a number or MIN:MAX.",
        parse=dataset_checks.think_time,
    )
    multi_turn_num_turns: int = dataset_flag(
        3, "Turns of a synthetic conversation (random --multi-turn).", least=1
    )
    multi_turn_min_turns: int = dataset_flag(
        0,
        "Minimum turns, drawn uniformly up to the maximum; 0: --multi-turn-num-turns.",
        least=0,
    )
    multi_turn_max_turns: int = dataset_flag(
        0, "Maximum turns; 0: --multi-turn-num-turns.", least=0
    )
    multi_turn_concurrency: int | None = flag(None, "Same as --max-concurrency.", least=1)
    multi_turn_delay_ms: float = flag(
        0.0, "Same as --think-time, in milliseconds.", least=0, finite=True
    )
    per_turn_input_len: int = dataset_flag(
        0,
        "Input tokens of the turns after the first; 0: --random-input-len.",
        least=0,
        most=MOST_TOKENS,
    )
    multi_turn_prefix_global_ratio: float = dataset_flag(
        0.0,
        "Share of each message that is the same in all conversations; sends no history.",
        least=0,
    )
    multi_turn_prefix_conversation_ratio: float = dataset_flag(
        0.0,
        "Share of each message that is the same in its conversation; sends no history.",
        least=0,
    )
    history: str | None = dataset_flag(
        None,
        "Responses in the history of later turns: the server's (real), or those recorded in the "
        "dataset. Default: real if the format allows both.",
        allowed=("real", "recorded"),
    )
    num_sessions: int | None = flag(
        None,
        "Number of sessions to send, with all their requests, instead of --num-prompts.",
        least=1,
    )
    concurrent_sessions: int | None = flag(
        None, "Number of concurrent sessions; when one ends, the next one starts.", least=1
    )
    user_rate_s: float | None = flag(
        None,
        "Seconds between two requests of a user. Each of the --users N users sends one session "
        "after another and begins at a random turn, so that the load is steady from the start.",
        name="user-rate",
        above=0,
        finite=True,
    )
    max_delay_s: float | None = flag(
        None,
        "Maximum recorded delay between two turns, in seconds; longer delays are shortened to it.",
        name="max-delay",
        least=0,
        finite=True,
    )
    session_header: str | None = flag(
        None, "Header that carries the session id, for routers with session affinity."
    )
    system_prompt: str | None = flag(
        None,
        "System prompt of all requests: a file with its text, or a number of random tokens.",
        metavar="FILE|N",
    )
    mix: str | None = flag(
        None, "JSON file that lists several workloads with their weights and labels."
    )


GROUPS: dict[str, type] = {
    "custom dataset": CustomDataset,
    "spec bench dataset": SpecBenchDataset,
    "speed bench dataset": SpeedBenchDataset,
    "sonnet dataset": SonnetDataset,
    "sharegpt dataset": ShareGPTDataset,
    "blazedit dataset": BlazeditDataset,
    "asr dataset": AsrDataset,
    "random dataset": RandomDataset,
    "random multi-modal dataset": RandomMultiModalDataset,
    "hf dataset": HFDataset,
    "prefix repetition dataset": PrefixRepetitionDataset,
    "traces": Traces,
    "conversations and mixes": ConversationsAndMixes,
}


@section
class DatasetFlags(
    CustomDataset,
    SpecBenchDataset,
    SpeedBenchDataset,
    SonnetDataset,
    ShareGPTDataset,
    BlazeditDataset,
    AsrDataset,
    RandomDataset,
    RandomMultiModalDataset,
    HFDataset,
    PrefixRepetitionDataset,
    Traces,
    ConversationsAndMixes,
):
    """The flags of all datasets."""
