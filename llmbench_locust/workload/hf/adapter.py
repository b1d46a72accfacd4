"""An adapter describes a dataset's layout, with a function from one row to one request."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json, JsonValue
from llmbench_locust.options.config import RunConfig
from llmbench_locust.workload.sample import SampleRequest
from llmbench_locust.workload.tokenizer import Tokenizer

Row = Json


@dataclass(slots=True)
class Context:
    """``name``: the dataset's id on the hub; ``folder``: that of a local copy, or None."""

    config: RunConfig
    tokenizer: Tokenizer
    name: str
    folder: str | None

    def tokens(self, text: str, *, special: bool = True) -> int:
        return len(self.tokenizer.encode(text, add_special_tokens=special))

    def templated(self, messages: list[Json], **kwargs: JsonValue) -> str:
        """The messages in the tokenizer's chat template. Raises ConfigError without one."""
        if self.tokenizer.chat_template is None:
            raise ConfigError(
                "--tokenizer: this dataset needs a chat template, and the tokenizer has none; "
                "use --skip-chat-template or another --tokenizer"
            )
        more = {**self.config.chat_template_kwargs, **kwargs}
        return str(self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, **more))

    def question(self, text: str, output_len: int) -> SampleRequest:
        """A request of one user message, in the chat template unless ``--skip-chat-template``."""
        if not self.config.skip_chat_template:
            text = self.templated([{"role": "user", "content": text}])
        return SampleRequest(text, self.tokens(text), output_len)

    def with_media(self, text: str, media: JsonValue, output_len: int) -> SampleRequest:
        """A request of a text and media; as messages with ``--enable-multimodal-chat``."""
        sample = SampleRequest(text, self.tokens(text), output_len, multi_modal=media)
        if self.config.enable_multimodal_chat:
            sample.to_messages()
        return sample

    def output_len(self, default: int) -> int:
        given: int | None = self.config.hf_output_len
        return default if given is None else given


#: One row → its request (without an id), or None to skip the row. KeyError and similar errors mean
#: that the row has another layout.
Make = Callable[[Row, Context], SampleRequest | None]


@dataclass(frozen=True, slots=True)
class Adapter:
    """``split``, ``subset``: defaults on the hub; ``no_subset``: the dataset has none, and the flag
    is ignored.

    ``modality``: what the backend must support, "" for text; ``backend``: the only one that works,
    "" for any. ``id_by_row``: request ids count all rows, including skipped ones. ``rows``: loads
    the rows without ``datasets``.
    """

    name: str
    ids: tuple[str, ...]
    make: Make
    columns: str
    split: str | None = "train"
    subset: str | None = None
    no_subset: bool = False
    modality: str = ""
    backend: str = ""
    id_by_row: bool = False
    rows: Callable[[Context], Iterable[Row]] | None = None
