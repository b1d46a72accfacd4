"""Loads the tokenizer that counts tokens and makes prompts.

A local ``tokenizer.json`` that transformers would load unmodified is loaded by the tokenizers
library alone (0.04 s; transformers takes 3 s), with transformers' meaning of special tokens and
chat template. All others are loaded by transformers. With neither ``--tokenizer`` nor a model that
has one (``--sim``), the tokenizer in this package is used.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from llmbench_locust.errors import ConfigError, first_line
from llmbench_locust.json_types import Json, JsonValue
from llmbench_locust.json_values import as_object
from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload.chat_template import (
    NAMED,
    WITHOUT_TEMPLATE,
    content_of,
    render_chat_template,
)
from llmbench_locust.workload.hub import offline
from llmbench_locust.workload.tokenizer import Messages, Tokenizer

if TYPE_CHECKING:
    from tokenizers import Encoding
    from tokenizers import Tokenizer as Backend

#: The value of ``--tokenizer`` for the tokenizer in this package.
OWN_NAME = "llmbench"
DEFAULT_TOKENIZER = Path(__file__).parent.parent / "data" / "tokenizer"

_EVEN_BPE = "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output"

# Classes of transformers that load tokenizer.json unmodified, and those that do so (or build the
# same) if it is byte-level. The others build the normalizer, pre-tokenizer or special tokens in
# code and ignore the file.
_UNMODIFIED = ("PreTrainedTokenizer", "TokenizersBackend")
_IF_BYTE_LEVEL = ("LlamaTokenizer", "GPT2Tokenizer", "Qwen2Tokenizer", "")


class FastTokenizer:
    """A tokenizer of the tokenizers library, with the same results as transformers."""

    def __init__(
        self, backend: Backend, config: Json, chat_template: str | None, name: str
    ) -> None:
        self._backend = backend
        self._config = config
        self.chat_template = chat_template
        self.name = name
        self.vocab_size: int = backend.get_vocab_size(with_added_tokens=False)
        # transformers does not clean up BPE, which preserves the spaces of the text.
        leaves = type(backend.model).__name__ == "BPE" and not config.get(_EVEN_BPE)
        self._clean_up = bool(config.get("clean_up_tokenization_spaces")) and not leaves
        backend.no_padding()
        backend.no_truncation()

    @property
    def all_special_ids(self) -> list[int]:
        """Ids of the named special tokens, ordered by name, each once."""
        tokens = [content_of(self._config.get(name)) for name in NAMED]
        names = ("extra_special_tokens", "additional_special_tokens")
        more: JsonValue = next(filter(None, map(self._config.get, names)), [])
        tokens += [content_of(t) for t in (more.values() if isinstance(more, dict) else more)]
        ids = [self._backend.token_to_id(t) for t in tokens if t]
        return list(dict.fromkeys(i for i in ids if i is not None))

    @property
    def added_special_ids(self) -> list[int]:
        """Ids of all added special tokens: the named ones and markers of images and turns."""
        return [i for i, token in self._backend.get_added_tokens_decoder().items() if token.special]

    def num_special_tokens_to_add(self) -> int:
        return int(self._backend.num_special_tokens_to_add(False))

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        ids: list[int] = _encoded(self._backend, [text], add_special_tokens)[0].ids
        return ids

    def encode_batch(self, texts: list[str], add_special_tokens: bool = False) -> list[list[int]]:
        return [e.ids for e in _encoded(self._backend, texts, add_special_tokens)]

    def count_batch(self, texts: list[str], add_special_tokens: bool = False) -> list[int]:
        """The number of tokens of each text."""
        return [len(e) for e in _encoded(self._backend, texts, add_special_tokens)]

    def decode(self, ids: list[int], skip_special_tokens: bool = False) -> str:
        return self._cleaned(self._backend.decode(ids, skip_special_tokens=skip_special_tokens))

    def decode_batch(self, batch: list[list[int]], skip_special_tokens: bool = False) -> list[str]:
        texts = self._backend.decode_batch(batch, skip_special_tokens=skip_special_tokens)
        return [self._cleaned(text) for text in texts]

    def apply_chat_template(
        self, messages: Messages, *, add_generation_prompt: bool = True, **more: JsonValue
    ) -> str:
        if self.chat_template is None:
            what = f"{self.name} has no chat template; {WITHOUT_TEMPLATE}, or use another tokenizer"
            raise ConfigError(f"--tokenizer: {what}")
        return render_chat_template(
            self.chat_template, messages, self._config, add_generation_prompt, more
        )

    def _cleaned(self, text: str) -> str:
        if self._clean_up:
            for wrong, right in _CLEAN_UP:
                text = text.replace(wrong, right)
        return text


# As transformers' clean_up_tokenization: removes the space before these, and both around a quote.
_CLEAN_UP = (
    *((f" {mark}", mark) for mark in ".?!,"),
    (" ' ", "'"),
    *((f" {end}", end) for end in ("n't", "'m", "'s", "'ve", "'re")),
)


def _encoded(backend: Backend, texts: list[str], special: bool) -> list[Encoding]:
    try:
        return backend.encode_batch_fast(texts, add_special_tokens=special)
    except TypeError:
        for text in texts:
            try:
                text.encode()
            except UnicodeEncodeError as e:  # as "\\ud83d" in a JSON file
                raise ConfigError(
                    f"--dataset-path: the text {text[max(0, e.start - 30) : e.end]!r} ends in half "
                    "of a character (a lone surrogate), which no tokenizer reads; correct the file"
                ) from None
        raise


class HFTokenizer:
    """A tokenizer of transformers: slow (Python) ones and those with custom code."""

    def __init__(self, inner: JsonValue, name: str) -> None:
        self._inner = inner
        self._backend = _plain_backend(inner)
        self.name = name
        self.vocab_size: int = inner.vocab_size
        self.chat_template: str | None = getattr(inner, "chat_template", None)
        self.all_special_ids: list[int] = list(inner.all_special_ids)
        self.added_special_ids: list[int] = self.all_special_ids
        if hasattr(inner, "added_tokens_decoder"):
            added = inner.added_tokens_decoder.items()
            self.added_special_ids = [i for i, token in added if token.special]

    def num_special_tokens_to_add(self) -> int:
        return int(self._inner.num_special_tokens_to_add())

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return list(self._inner.encode(text, add_special_tokens=add_special_tokens))

    def encode_batch(self, texts: list[str], add_special_tokens: bool = False) -> list[list[int]]:
        if self._backend is None:
            return [self.encode(text, add_special_tokens) for text in texts]
        return [e.ids for e in _encoded(self._backend, texts, add_special_tokens)]

    def count_batch(self, texts: list[str], add_special_tokens: bool = False) -> list[int]:
        if self._backend is None:
            return [len(self.encode(text, add_special_tokens)) for text in texts]
        return [len(e) for e in _encoded(self._backend, texts, add_special_tokens)]

    def decode(self, ids: list[int], skip_special_tokens: bool = False) -> str:
        return str(self._inner.decode(ids, skip_special_tokens=skip_special_tokens))

    def decode_batch(self, batch: list[list[int]], skip_special_tokens: bool = False) -> list[str]:
        return [self.decode(ids, skip_special_tokens) for ids in batch]

    def apply_chat_template(
        self, messages: Messages, *, add_generation_prompt: bool = True, **more: JsonValue
    ) -> str:
        try:
            return str(
                self._inner.apply_chat_template(
                    messages, add_generation_prompt=add_generation_prompt, tokenize=False, **more
                )
            )
        except ValueError as e:
            what = f"{self.name}: {first_line(e)}; {WITHOUT_TEMPLATE}"
            raise ConfigError(f"--tokenizer: {what}") from None


def _plain_backend(inner: object) -> Backend | None:
    """The tokenizers library's object; None if transformers does not encode with it alone."""
    method = getattr(type(inner), "_encode_plus", None)
    owner = getattr(method, "__qualname__", "").partition(".")[0]
    backend: Backend | None = getattr(inner, "backend_tokenizer", None)
    # The classes are those of transformers 5 and 4.
    if backend is None or owner not in ("TokenizersBackend", "PreTrainedTokenizerFast"):
        return None
    if getattr(inner, "split_special_tokens", False):
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
    if mode in ("auto", "hf") and not config.trust_remote_code and _loads_unmodified(path):
        return _from_directory(path, str(name))
    if mode == "mistral":
        return _mistral(name)
    if mode not in ("auto", "hf", "slow"):
        return _of_vllm(mode, name, config)
    return _from_transformers(name, config, given=bool(given))


def _loads_unmodified(path: Path) -> bool:
    """Whether transformers would load the directory's tokenizer.json unmodified."""
    whole = path / "tokenizer.json"
    if not whole.is_file():
        return False
    model = _json(path / "config.json")
    files = (_json(path / "tokenizer_config.json"), model)
    declared = next(filter(None, (file.get("tokenizer_class") for file in files)), "")
    name = str(declared).removesuffix("Fast")
    if name in _UNMODIFIED or (not name and "model_type" not in model):
        return True
    return name in _IF_BYTE_LEVEL and b'"ByteLevel"' in whole.read_bytes()


def _from_directory(path: Path, name: str) -> FastTokenizer:
    from tokenizers import Tokenizer as Backend

    try:
        backend = Backend.from_file(str(path / "tokenizer.json"))
    except Exception as e:  # the library raises bare Exception
        what = f"{name}: tokenizer.json cannot be read ({first_line(e)})"
        raise ConfigError(f"--tokenizer: {what}") from None
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
            f"{flag}: no tokenizer can be loaded for {name!r} ({first_line(e)}); "
            "use --tokenizer with a local directory or a Hub name, or --tokenizer llmbench"
        ) from None
    return HFTokenizer(inner, name)


def _of_vllm(mode: str, name: str, config: RunConfig) -> HFTokenizer:
    """A mode of vLLM (such as deepseek_v32) or of a plugin, from vLLM's registry."""
    try:
        from vllm.tokenizers.registry import TokenizerRegistry
    except ImportError:
        what = f"{mode!r} needs vllm, which is not installed; use auto, hf, slow or mistral"
        raise ConfigError(f"--tokenizer-mode: {what}") from None
    try:
        cls = TokenizerRegistry.load_tokenizer_cls(mode)
        inner = cls.from_pretrained(name, trust_remote_code=config.trust_remote_code)
    except Exception as e:
        what = f"{mode!r} gives no tokenizer for {name!r} ({first_line(e)})"
        raise ConfigError(f"--tokenizer-mode: {what}") from None
    return HFTokenizer(inner, name)


def _mistral(name: str) -> HFTokenizer:
    try:
        from transformers import MistralCommonBackend as Common
    except ImportError:
        try:
            from transformers.tokenization_mistral_common import MistralCommonTokenizer as Common
        except ImportError:
            what = "mistral needs the package mistral-common"
            raise ConfigError(f"--tokenizer-mode: {what}") from None
    try:
        return HFTokenizer(Common.from_pretrained(name), name)
    except Exception as e:
        what = f"no Mistral tokenizer can be loaded for {name!r} ({first_line(e)})"
        raise ConfigError(f"--tokenizer: {what}") from None


def _json(path: Path) -> Json:
    if not path.is_file():
        return {}
    try:
        return as_object(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as e:
        raise ConfigError(f"--tokenizer: {path} is not JSON ({e})") from None
