"""Loads the tokenizer that counts tokens and makes prompts.

A local ``tokenizer.json`` that transformers would read as it stands is loaded by the tokenizers
library alone (0.04 s; transformers takes 3 s), with transformers' own meaning of special tokens and
chat template. Everything else goes through transformers. Without ``--tokenizer``, and with a model
that names no tokenizer here (``--sim``), the one that ships with the package is used.
"""

from __future__ import annotations

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json
from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload.hub import offline
from llmbench_locust.workload.tokenizer import Messages, Tokenizer

#: The name by which ``--tokenizer`` asks for the one that ships with the package.
OWN_NAME = "llmbench"
DEFAULT_TOKENIZER = Path(__file__).parent.parent / "data" / "tokenizer"

# Classes of transformers that read tokenizer.json as it stands, and those that do (or build the
# same) where it is byte-level. The others build normalizer, pre-tokenizer or special tokens in
# code, whatever the file says.
_AS_IT_STANDS = ("PreTrainedTokenizer", "TokenizersBackend")
_IF_BYTE_LEVEL = ("LlamaTokenizer", "GPT2Tokenizer", "Qwen2Tokenizer", "")

_WITHOUT_TEMPLATE = "use --skip-chat-template to send prompts without a template"
_NAMED = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)


class FastTokenizer:
    """A tokenizer of the tokenizers library, with the results that transformers would give."""

    def __init__(self, backend: Any, config: Json, chat_template: str | None, name: str) -> None:
        self._backend = backend
        self._config = config
        self.chat_template = chat_template
        self.name = name
        self.vocab_size: int = backend.get_vocab_size(with_added_tokens=False)
        # transformers leaves BPE alone: there the blanks before punctuation are the text's own.
        forced = config.get(
            "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output", False
        )
        bpe = type(backend.model).__name__ == "BPE"
        self._clean_up = bool(
            config.get("clean_up_tokenization_spaces", False) and (forced or not bpe)
        )
        backend.no_padding()
        backend.no_truncation()

    @property
    def all_special_ids(self) -> list[int]:
        """Ids of the named special tokens, in the order of their names, each once."""
        tokens = [_content(self._config.get(name)) for name in _NAMED]
        more = (
            self._config.get("extra_special_tokens")
            or self._config.get("additional_special_tokens")
            or []
        )
        tokens += [_content(t) for t in (more.values() if isinstance(more, dict) else more)]
        ids = [self._backend.token_to_id(t) for t in tokens if t]
        return list(dict.fromkeys(i for i in ids if i is not None))

    @property
    def added_special_ids(self) -> list[int]:
        """Ids of all added special tokens: the named ones and marks of images and turns."""
        return [i for i, token in self._backend.get_added_tokens_decoder().items() if token.special]

    def num_special_tokens_to_add(self) -> int:
        return int(self._backend.num_special_tokens_to_add(False))

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        ids: list[int] = self._backend.encode(text, add_special_tokens=add_special_tokens).ids
        return ids

    def encode_batch(self, texts: list[str], add_special_tokens: bool = False) -> list[list[int]]:
        return [
            e.ids
            for e in self._backend.encode_batch_fast(texts, add_special_tokens=add_special_tokens)
        ]

    def count_batch(self, texts: list[str], add_special_tokens: bool = False) -> list[int]:
        """Numbers of tokens, without making lists of them."""
        return [
            len(e)
            for e in self._backend.encode_batch_fast(texts, add_special_tokens=add_special_tokens)
        ]

    def decode(self, ids: list[int], skip_special_tokens: bool = False) -> str:
        return self._cleaned(self._backend.decode(ids, skip_special_tokens=skip_special_tokens))

    def decode_batch(self, batch: list[list[int]], skip_special_tokens: bool = False) -> list[str]:
        return [
            self._cleaned(t)
            for t in self._backend.decode_batch(batch, skip_special_tokens=skip_special_tokens)
        ]

    def apply_chat_template(
        self, messages: Messages, *, add_generation_prompt: bool = True, **more: Any
    ) -> str:
        if self.chat_template is None:
            raise ConfigError(
                f"--tokenizer: {self.name} has no chat template; {_WITHOUT_TEMPLATE}, or use "
                "another tokenizer"
            )
        return render_chat_template(
            self.chat_template, messages, self._config, add_generation_prompt, more
        )

    def _cleaned(self, text: str) -> str:
        if self._clean_up:
            for wrong, right in _CLEAN_UP:
                text = text.replace(wrong, right)
        return text


# What transformers' clean_up_tokenization does.
_CLEAN_UP = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)


class HFTokenizer:
    """A tokenizer of transformers: slow ones, Python ones, those that come with code."""

    def __init__(self, inner: Any, name: str) -> None:
        self._inner = inner
        self._backend = _plain_backend(inner)
        self.name = name
        self.vocab_size: int = inner.vocab_size
        self.chat_template: str | None = getattr(inner, "chat_template", None)
        self.all_special_ids: list[int] = list(inner.all_special_ids)
        added = getattr(inner, "added_tokens_decoder", None)
        self.added_special_ids: list[int] = (
            self.all_special_ids
            if added is None
            else [i for i, token in added.items() if token.special]
        )

    def num_special_tokens_to_add(self) -> int:
        return int(self._inner.num_special_tokens_to_add())

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return list(self._inner.encode(text, add_special_tokens=add_special_tokens))

    def encode_batch(self, texts: list[str], add_special_tokens: bool = False) -> list[list[int]]:
        if self._backend is None:
            return [self.encode(text, add_special_tokens) for text in texts]
        return [
            e.ids
            for e in self._backend.encode_batch_fast(texts, add_special_tokens=add_special_tokens)
        ]

    def count_batch(self, texts: list[str], add_special_tokens: bool = False) -> list[int]:
        if self._backend is None:
            return [len(self.encode(text, add_special_tokens)) for text in texts]
        return [
            len(e)
            for e in self._backend.encode_batch_fast(texts, add_special_tokens=add_special_tokens)
        ]

    def decode(self, ids: list[int], skip_special_tokens: bool = False) -> str:
        return str(self._inner.decode(ids, skip_special_tokens=skip_special_tokens))

    def decode_batch(self, batch: list[list[int]], skip_special_tokens: bool = False) -> list[str]:
        return [self.decode(ids, skip_special_tokens) for ids in batch]

    def apply_chat_template(
        self, messages: Messages, *, add_generation_prompt: bool = True, **more: Any
    ) -> str:
        try:
            return str(
                self._inner.apply_chat_template(
                    messages, add_generation_prompt=add_generation_prompt, tokenize=False, **more
                )
            )
        except ValueError as e:
            raise ConfigError(
                f"--tokenizer: {self.name}: {_line(e)}; {_WITHOUT_TEMPLATE}"
            ) from None


def _plain_backend(inner: object) -> Any:
    """The tokenizers library's object, where transformers adds nothing to encoding."""
    method = getattr(type(inner), "_encode_plus", None)
    generic = (
        "TokenizersBackend._encode_plus",
        "PreTrainedTokenizerFast._encode_plus",
    )  # transformers 5 and 4
    backend = getattr(inner, "backend_tokenizer", None)
    if (
        backend is None
        or getattr(method, "__qualname__", "") not in generic
        or getattr(inner, "split_special_tokens", False)
    ):
        return None
    backend.no_padding()
    backend.no_truncation()
    return backend


def load_tokenizer(config: RunConfig) -> Tokenizer | None:
    """The tokenizer of a run, None with ``--skip-tokenizer-init``. Raises ConfigError."""
    if config.skip_tokenizer_init:
        return None
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    given = config.tokenizer
    name = given or (None if config.sim else config.model)
    if name is None or name == OWN_NAME:
        return _from_directory(DEFAULT_TOKENIZER, OWN_NAME)
    mode = config.tokenizer_mode
    path = Path(name)
    if mode in ("auto", "hf") and not config.trust_remote_code and _as_it_stands(path):
        return _from_directory(path, str(name))
    if mode == "mistral":
        return _mistral(name)
    if mode not in ("auto", "hf", "slow"):
        return _of_vllm(mode, name, config)
    return _from_transformers(name, config, given=bool(given))


def _as_it_stands(path: Path) -> bool:
    """Whether transformers, too, would take the directory's tokenizer.json for what it says."""
    file = path / "tokenizer.json"
    if not file.is_file():
        return False
    model = _json(path / "config.json")
    declared = _json(path / "tokenizer_config.json").get("tokenizer_class") or model.get(
        "tokenizer_class"
    )
    name = str(declared or "").removesuffix("Fast")
    if name in _AS_IT_STANDS or (not name and "model_type" not in model):
        return True
    return name in _IF_BYTE_LEVEL and b'"ByteLevel"' in file.read_bytes()


def _from_directory(path: Path, name: str) -> FastTokenizer:
    from tokenizers import Tokenizer as Backend

    try:
        backend = Backend.from_file(str(path / "tokenizer.json"))
    except Exception as e:  # the library raises bare Exception
        raise ConfigError(
            f"--tokenizer: {name}: tokenizer.json cannot be read ({_line(e)})"
        ) from None
    config = _json(path / "tokenizer_config.json")
    for key, value in _json(path / "special_tokens_map.json").items():
        config.setdefault(key, value)
    template = config.get("chat_template")
    if (path / "chat_template.jinja").is_file():
        template = (path / "chat_template.jinja").read_text(encoding="utf-8")
    if isinstance(template, list):  # several by name
        template = next((t["template"] for t in template if t.get("name") == "default"), None)
    return FastTokenizer(backend, config, template, name)


def _from_transformers(name: str, config: RunConfig, *, given: bool) -> HFTokenizer:
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    unasked = "" if Path(name).exists() else offline()
    from transformers import AutoTokenizer

    mode = config.tokenizer_mode
    try:
        inner = AutoTokenizer.from_pretrained(
            name, trust_remote_code=config.trust_remote_code, use_fast=mode != "slow"
        )
    except Exception as e:
        flag = "--tokenizer" if given else "--model"
        if unasked:
            raise ConfigError(
                f"{flag}: the tokenizer of {name!r} is not in the local cache, and {unasked}; "
                "use --tokenizer with a local directory, or --tokenizer llmbench"
            ) from None
        raise ConfigError(
            f"{flag}: no tokenizer can be loaded for {name!r} ({_line(e)}); "
            "use --tokenizer with a local directory or a Hub name, or --tokenizer llmbench"
        ) from None
    return HFTokenizer(inner, name)


def _of_vllm(mode: str, name: str, config: RunConfig) -> HFTokenizer:
    """vLLM's own modes (deepseek_v32 and such) or a plugin's, by vLLM's registry."""
    try:
        from vllm.tokenizers.registry import TokenizerRegistry
    except ImportError:
        raise ConfigError(
            f"--tokenizer-mode: {mode!r} is vLLM's own or a plugin's, and vllm is not "
            "installed here; auto, hf, slow or mistral"
        ) from None
    try:
        cls = TokenizerRegistry.load_tokenizer_cls(mode)
        return HFTokenizer(
            cls.from_pretrained(name, trust_remote_code=config.trust_remote_code), name
        )
    except Exception as e:
        raise ConfigError(
            f"--tokenizer-mode: {mode!r} gives no tokenizer for {name!r} ({_line(e)})"
        ) from None


def _mistral(name: str) -> HFTokenizer:
    try:
        from transformers import MistralCommonBackend as Common
    except ImportError:
        try:
            from transformers.tokenization_mistral_common import MistralCommonTokenizer as Common
        except ImportError:
            raise ConfigError(
                "--tokenizer-mode: mistral needs the package mistral-common"
            ) from None
    try:
        return HFTokenizer(Common.from_pretrained(name), name)
    except Exception as e:
        raise ConfigError(
            f"--tokenizer: no Mistral tokenizer can be loaded for {name!r} ({_line(e)})"
        ) from None


def render_chat_template(
    template: str,
    messages: Messages,
    config: Json,
    add_generation_prompt: bool,
    more: Json,
) -> str:
    """A chat template as transformers renders it: sandboxed jinja with its few additions."""
    from jinja2 import TemplateError

    tokens = {name: _content(config.get(name)) for name in _NAMED if config.get(name)}
    try:
        return str(
            _compiled(template).render(
                messages=messages, add_generation_prompt=add_generation_prompt, **{**tokens, **more}
            )
        )
    except TemplateError as e:
        raise ConfigError(
            f"--tokenizer: its chat template fails ({_line(e)}); {_WITHOUT_TEMPLATE}"
        ) from None


@lru_cache(maxsize=8)
def _compiled(template: str) -> Any:
    """Compiling takes 2 ms, rendering a fraction of that: a workload renders thousands."""
    from datetime import datetime

    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def fail(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda x, indent=None: json.dumps(
        x, ensure_ascii=False, indent=indent
    )
    environment.globals["raise_exception"] = fail
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment.from_string(template)


def _content(token: object) -> str | None:
    """A special token's text, in either form that files have it."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None


def _json(path: Path) -> Json:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as e:
        raise ConfigError(f"--tokenizer: {path} is not JSON ({e})") from None
    return found if isinstance(found, dict) else {}


def _line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0][:200] if text else type(error).__name__
