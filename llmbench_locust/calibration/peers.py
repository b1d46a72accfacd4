"""The commands of other clients, as a user would type them; each writes ``r.json``."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

TOKENIZER = str(files("llmbench_locust") / "data" / "tokenizer")
#: Loads only SGLang's extension, because its package needs GPU libraries.
_RUST = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("_bench", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.run_argv(["sglang-bench", *sys.argv[2:]])
"""

#: (url, tokens per response, streams, folder of the result) → a command.
Command = Callable[[str, int, int, Path], list[str]]


def common(url: str, streams: int) -> list[str]:
    """Flags that our client and vLLM's share."""
    words = f"""--backend openai --base-url {url} --model paced --tokenizer {TOKENIZER}
    --num-prompts {streams} --disable-tqdm
    --percentile-metrics ttft,tpot,itl,e2el --metric-percentiles 50,99"""
    return words.split()


def random_prompts(url: str, tokens: int, streams: int) -> list[str]:
    """The same with prompts."""
    words = f"--dataset-name random --random-input-len 16 --random-output-len {tokens}"
    return [*common(url, streams), *words.split()]


def saved(folder: Path) -> list[str]:
    """Flags of the result file."""
    return ["--save-result", "--result-dir", str(folder), "--result-filename", "r.json"]


def vllm(program: str, threads: int = 1) -> Command:
    """`vllm bench serve`. It has one thread."""

    def command(url: str, tokens: int, streams: int, folder: Path) -> list[str]:
        return [program, "bench", "serve", *random_prompts(url, tokens, streams), *saved(folder)]

    return command


def vllm_rs(program: str, threads: int = 1) -> Command:
    """vLLM's Rust client. Uses prompts from a file: its random dataset lets the server tokenize."""

    def command(url: str, tokens: int, streams: int, folder: Path) -> list[str]:
        prompts = folder / "prompts.jsonl"
        lines = (json.dumps({"prompt": f"What is special about {i}?"}) for i in range(streams))
        prompts.write_text("\n".join(lines))
        words = f"""--dataset-name custom --dataset-path {prompts} --skip-chat-template
        --custom-output-len {tokens}"""
        bench = ["env", f"TOKIO_WORKER_THREADS={threads}", program, "bench", "serve"]
        return [*bench, *common(url, streams), *words.split(), *saved(folder)]

    return command


def sglang(extension: str, threads: int = 1) -> Command:
    """SGLang's Rust client, an extension of its package."""

    def command(url: str, tokens: int, streams: int, folder: Path) -> list[str]:
        words = f"""--backend vllm --base-url {url} --model paced --tokenizer {TOKENIZER}
        --dataset-name random-ids --random-input-len 16 --random-range-ratio 1.0
        --random-output-len {tokens} --num-prompts {streams} --disable-tqdm
        --worker-threads {threads} --output-file {folder / "r.json"}"""
        return [sys.executable, "-c", _RUST, extension, *words.split()]

    return command


def sglang_extension() -> str | None:
    """The extension of the installed package."""
    spec = importlib.util.find_spec("sglang")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for extension in sorted(Path(folder).glob("srt/rust_extensions/_bench*.so")):
            return str(extension)
    return None


#: Name → its path on this machine (None if missing), and a function that makes its command of that.
PEERS: dict[str, tuple[Callable[[], str | None], Callable[[str, int], Command]]] = {
    "vllm": (lambda: shutil.which("vllm"), vllm),
    "vllm-rs": (lambda: shutil.which("vllm-rs"), vllm_rs),
    "sglang": (sglang_extension, sglang),
}
