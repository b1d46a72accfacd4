"""One row for each figure that a server or its GPUs may report, with its names on metrics pages.

A source is one or several sample names joined by `` + ``, each with an optional label filter
``{label=regex}``; `` * FACTOR`` after it converts its unit, `` / SOURCE`` divides it. The first
source that the page has is used. Counters match with and without ``_total``. Names are from vLLM
0.33, SGLang 0.5.23, TensorRT-LLM, TGI 3.3.7, llama.cpp and the DCGM exporter; see
docs/server-metrics.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerMetric:
    """One figure. ``kind``: gauge, counter or histogram; ``unit``: that of its value. Over label
    sets, a "share" is averaged, a "count" is their number, and others are summed.
    """

    name: str
    kind: str
    unit: str
    sources: tuple[str, ...]


def _table(text: str) -> tuple[ServerMetric, ...]:
    """Parse rows: a line with name, kind and unit, then indented lines with the sources."""
    rows = []
    for row in re.split(r"\n(?! )", text.strip()):
        head, _, sources = row.partition("\n")
        name, kind, unit = head.split(" | ")
        found = tuple(" ".join(source.split()) for source in sources.split(","))
        rows.append(ServerMetric(name, kind, unit, found))
    return tuple(rows)


SERVER_METRICS = _table("""
running | gauge | requests
    vllm:num_requests_running, sglang:num_running_reqs, trtllm_num_requests_running,
    nv_trt_llm_request_metrics{request_type=active}, tgi_batch_current_size,
    llamacpp:requests_processing
waiting | gauge | requests
    vllm:num_requests_waiting, sglang:num_queue_reqs, trtllm_num_requests_waiting,
    nv_trt_llm_request_metrics{request_type=waiting}, tgi_queue_size, llamacpp:requests_deferred
kv_cache_usage | gauge | share
    vllm:kv_cache_usage_perc, vllm:gpu_cache_usage_perc, sglang:token_usage,
    trtllm_kv_cache_utilization, llamacpp:kv_cache_usage_ratio,
    nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=fraction},
    nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=used}
    / nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=max}
preemptions | counter | events
    vllm:num_preemptions, sglang:num_retracted_requests
prefix_cache_queries | counter | tokens
    vllm:prefix_cache_queries, vllm:gpu_prefix_cache_queries, sglang:prefill_effective_tokens,
    llamacpp:prompt_tokens + llamacpp:prompt_tokens_cached
prefix_cache_hits | counter | tokens
    vllm:prefix_cache_hits, vllm:gpu_prefix_cache_hits,
    sglang:prefill_effective_tokens{mode=.*_hit}, llamacpp:prompt_tokens_cached
cached_prompt_tokens | counter | tokens
    vllm:prompt_tokens_cached, sglang:cached_tokens, trtllm_prompt_cached_tokens,
    llamacpp:prompt_tokens_cached
prompt_tokens | counter | tokens
    vllm:prompt_tokens, sglang:prompt_tokens, trtllm_prompt_tokens,
    tgi_request_input_length_sum, llamacpp:prompt_tokens + llamacpp:prompt_tokens_cached
generation_tokens | counter | tokens
    vllm:generation_tokens, sglang:generation_tokens, trtllm_generation_tokens,
    tgi_request_generated_tokens_sum, llamacpp:tokens_predicted
requests_finished | counter | requests
    vllm:request_success, trtllm_request_success,
    sglang:num_requests + sglang:num_aborted_requests, tgi_request_success + tgi_request_failure
queue_time | histogram | s
    vllm:request_queue_time_seconds, sglang:queue_time_seconds,
    trtllm_request_queue_time_seconds, tgi_request_queue_duration
prefill_time | histogram | s
    vllm:request_prefill_time_seconds, trtllm_request_prefill_time_seconds
decode_time | histogram | s
    vllm:request_decode_time_seconds, trtllm_request_decode_time_seconds
inference_time | histogram | s
    vllm:request_inference_time_seconds, trtllm_request_inference_time_seconds,
    tgi_request_inference_duration
server_ttft | histogram | s
    vllm:time_to_first_token_seconds, sglang:time_to_first_token_seconds,
    trtllm_time_to_first_token_seconds
server_itl | histogram | s
    vllm:inter_token_latency_seconds, vllm:time_per_output_token_seconds,
    sglang:inter_token_latency_seconds
server_tpot | histogram | s
    vllm:request_time_per_output_token_seconds, trtllm_time_per_output_token_seconds,
    sglang:request_time_per_output_token_seconds, tgi_request_mean_time_per_token_duration
server_e2el | histogram | s
    vllm:e2e_request_latency_seconds, sglang:e2e_request_latency_seconds,
    trtllm_e2e_request_latency_seconds, tgi_request_duration
spec_drafts | counter | steps
    vllm:spec_decode_num_drafts, sglang:spec_verify_calls, llamacpp:spec_decode_num_drafts
spec_draft_tokens | counter | tokens
    vllm:spec_decode_num_draft_tokens, trtllm_spec_decode_num_draft_tokens,
    llamacpp:spec_decode_num_draft_tokens
spec_accepted_tokens | counter | tokens
    vllm:spec_decode_num_accepted_tokens, trtllm_spec_decode_num_accepted_tokens,
    tgi_request_skipped_tokens_sum, llamacpp:spec_decode_num_accepted_tokens
""")

#: Over all GPUs of a page, or over those selected by the user.
GPU_METRICS = _table("""
gpus | gauge | count
    DCGM_FI_DEV_POWER_USAGE, nv_gpu_power_usage
gpu_power | gauge | W
    DCGM_FI_DEV_POWER_USAGE, nv_gpu_power_usage
gpu_utilization | gauge | share
    DCGM_FI_DEV_GPU_UTIL * 0.01, nv_gpu_utilization
gpu_memory | gauge | bytes
    DCGM_FI_DEV_FB_USED * 1048576, nv_gpu_memory_used_bytes
gpu_energy | counter | J
    DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION * 0.001, nv_energy_consumption
""")

BY_NAME = {row.name: row for row in (*SERVER_METRICS, *GPU_METRICS)}
