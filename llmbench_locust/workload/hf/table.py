"""The known datasets, one row each."""

from __future__ import annotations

from functools import partial

from llmbench_locust.workload.hf import media, text, tools
from llmbench_locust.workload.hf.adapter import Adapter

#: Image datasets without subsets.
_images = partial(Adapter, modality="image", no_subset=True)

ADAPTERS: tuple[Adapter, ...] = (
    _images(
        "VisionArena",
        ("lmarena-ai/VisionArena-Chat",),
        partial(media.vision_arena, "conversation"),
        "conversation, images",
    ),
    _images(
        "VisionArena bench",
        ("lmarena-ai/vision-arena-bench-v0.1",),
        partial(media.vision_arena, "turns"),
        "turns, images",
    ),
    Adapter(
        "MMVU",
        ("yale-nlp/MMVU",),
        media.mmvu,
        "question, choices, video",
        split="validation",
        no_subset=True,
        modality="video",
    ),
    Adapter(
        "InstructCoder", ("likaixin/InstructCoder",), text.instruct_coder, "input, instruction"
    ),
    Adapter("MT-Bench", ("philschmid/mt-bench",), text.asks("turns", 0), "turns"),
    Adapter("HumanEval", ("openai/openai_humaneval",), text.asks("prompt"), "prompt", split="test"),
    Adapter(
        "GSM8K", ("openai/gsm8k",), text.asks("question"), "question", split="test", subset="main"
    ),
    Adapter(
        "multi-modal conversation",
        ("lmms-lab/LLaVA-OneVision-Data",),
        media.conversation,
        "conversations, image",
        modality="image",
    ),
    Adapter(
        "conversation", ("Aeala/ShareGPT_Vicuna_unfiltered",), media.conversation, "conversations"
    ),
    Adapter(
        "AIMO",
        ("AI-MO/aimo-validation-aime", "AI-MO/NuminaMath-1.5", "AI-MO/NuminaMath-CoT"),
        text.aimo,
        "problem, solution",
    ),
    Adapter(
        "next-edit prediction",
        ("zed-industries/zeta",),
        text.next_edit,
        "events, input, output",
        id_by_row=True,
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
        media.transcription,
        "audio (or url)",
        modality="audio",
    ),
    Adapter(
        "Blazedit",
        ("vdaita/edit_5k_char", "vdaita/edit_10k_char"),
        text.blazedit,
        "code, change_request, norm_distance",
        id_by_row=True,
    ),
    Adapter(
        "MLPerf",
        ("mgoin/mlperf-inference-llama2-data", "mgoin/mlperf-inference-llama3.1-data"),
        text.mlperf,
        "system_prompt, question, output",
    ),
    _images("MMStar", ("Lin-Chen/MMStar",), media.mm_star, "question, image", split="val"),
    Adapter(
        "BFCL",
        ("gorilla-llm/Berkeley-Function-Calling-Leaderboard",),
        tools.function_call,
        "question, function",
        no_subset=True,
        backend="openai-chat",
        rows=tools.rows,
    ),
)

#: Hub id → its row.
BY_ID: dict[str, Adapter] = {name: adapter for adapter in ADAPTERS for name in adapter.ids}

#: For ``--hf-prompt-column``.
ANY = Adapter("any", (), text.by_column, "that of --hf-prompt-column", split=None)
