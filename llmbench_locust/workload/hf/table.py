"""The datasets that are known by name, one row each."""

from __future__ import annotations

from llmbench_locust.workload.hf import media, speech, text, tools
from llmbench_locust.workload.hf.adapter import Adapter

ADAPTERS: tuple[Adapter, ...] = (
    Adapter(
        "VisionArena",
        ("lmarena-ai/VisionArena-Chat",),
        media.vision_arena_chat,
        no_subset=True,
        modality="image",
        columns="conversation, images",
    ),
    Adapter(
        "VisionArena bench",
        ("lmarena-ai/vision-arena-bench-v0.1",),
        media.vision_arena_bench,
        no_subset=True,
        modality="image",
        columns="turns, images",
    ),
    Adapter(
        "MMVU",
        ("yale-nlp/MMVU",),
        media.mmvu,
        split="validation",
        no_subset=True,
        modality="video",
        columns="question, choices, video",
    ),
    Adapter(
        "InstructCoder",
        ("likaixin/InstructCoder",),
        text.instruct_coder,
        columns="input, instruction",
    ),
    Adapter("MT-Bench", ("philschmid/mt-bench",), text.mt_bench, columns="turns"),
    Adapter(
        "HumanEval", ("openai/openai_humaneval",), text.human_eval, split="test", columns="prompt"
    ),
    Adapter(
        "GSM8K", ("openai/gsm8k",), text.gsm8k, split="test", subset="main", columns="question"
    ),
    Adapter(
        "multi-modal conversation",
        ("lmms-lab/LLaVA-OneVision-Data",),
        media.conversation,
        modality="image",
        columns="conversations, image",
    ),
    Adapter(
        "conversation",
        ("Aeala/ShareGPT_Vicuna_unfiltered",),
        media.conversation,
        columns="conversations",
    ),
    Adapter(
        "AIMO",
        ("AI-MO/aimo-validation-aime", "AI-MO/NuminaMath-1.5", "AI-MO/NuminaMath-CoT"),
        text.aimo,
        columns="problem, solution",
    ),
    Adapter(
        "next-edit prediction",
        ("zed-industries/zeta",),
        text.next_edit,
        id_by_row=True,
        columns="events, input, output",
    ),
    Adapter(
        "ASR",
        (
            "openslr/librispeech_asr",
            "facebook/voxpopuli",
            "LIUM/tedlium",
            "edinburghcstr/ami",
            "speechcolab/gigaspeech",
            "kensho/spgispeech",
            "ArtificialAnalysis/Earnings22-Cleaned-AA",
            "D4nt3/esb-datasets-earnings22-validation-tiny-filtered",
        ),
        speech.transcription,
        modality="audio",
        columns="audio (or url)",
    ),
    Adapter(
        "Blazedit",
        ("vdaita/edit_5k_char", "vdaita/edit_10k_char"),
        text.blazedit,
        id_by_row=True,
        columns="code, change_request, norm_distance",
    ),
    Adapter(
        "MLPerf",
        ("mgoin/mlperf-inference-llama2-data", "mgoin/mlperf-inference-llama3.1-data"),
        text.mlperf,
        columns="system_prompt, question, output",
    ),
    Adapter(
        "MMStar",
        ("Lin-Chen/MMStar",),
        media.mm_star,
        split="val",
        no_subset=True,
        modality="image",
        columns="question, image",
    ),
    Adapter(
        "BFCL",
        ("gorilla-llm/Berkeley-Function-Calling-Leaderboard",),
        tools.function_call,
        no_subset=True,
        backend="openai-chat",
        columns="question, function",
        rows=tools.rows,
    ),
)

#: Hub id → its row.
BY_ID: dict[str, Adapter] = {name: adapter for adapter in ADAPTERS for name in adapter.ids}

#: For ``--hf-prompt-column``.
ANY = Adapter("any", (), text.by_column, split=None, columns="the one of --hf-prompt-column")
