"""How long a prompt of text is: by the package's own tokenizer where it is shipped, else by its words."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any

Counter = Callable[[str], int]


def load_tokenizer() -> Any | None:
    """The shipped tokenizer (a `tokenizers.Tokenizer`), or None where the package has none."""
    file = files("llmbench_locust") / "data" / "tokenizer" / "tokenizer.json"
    if not file.is_file():
        return None
    from tokenizers import Tokenizer

    return Tokenizer.from_str(file.read_text(encoding="utf-8"))


def counter(tokenizer: Any | None) -> Counter:
    if tokenizer is None:
        return lambda text: len(text.split())
    encode = tokenizer.encode
    return lambda text: len(encode(text, add_special_tokens=False).ids)
