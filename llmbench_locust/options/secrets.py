"""Values that must not show: what a page, a file or a line says in their place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

MASK = "***"
_SECRET_KEY = re.compile(
    r"(api[-_]?key|secret|password|passwd|authorization|bearer|credential|access[-_]?token)$", re.I
)


def secret_dest(dest: str) -> str:
    """Where the namespace keeps the words of a secret flag; no argument has this name, so no form
    shows it.
    """
    return f"{dest}_secret"


def masked(words: Iterable[str]) -> list[str]:
    """KEY=*** of each KEY=VALUE; of another form, no more than its beginning."""
    return [
        f"{key}={MASK}" if mark else cut(word)
        for word in words
        for key, mark, _ in [word.partition("=")]
    ]


def unmasked(words: Sequence[str], secrets: Sequence[str]) -> tuple[str, ...]:
    """The words with each KEY=*** replaced by the secret of that key, where there is one."""
    if list(words) == masked(secrets):
        return tuple(secrets)
    known = {word.partition("=")[0]: word for word in secrets}
    return tuple(
        known.get(word.partition("=")[0], word) if word.endswith("=" + MASK) else word
        for word in words
    )


def cut(word: str) -> str:
    """The beginning of a word that may hold a secret in an unforeseen form."""
    return re.split(r"[\s:=]", word, maxsplit=1)[0][:16]


def without_secrets(value: Any) -> Any:
    """The same JSON value, masked wherever the name of a key says secret."""
    if isinstance(value, dict):
        return {
            k: MASK if _SECRET_KEY.search(str(k)) else without_secrets(v) for k, v in value.items()
        }
    if isinstance(value, list):
        return [without_secrets(v) for v in value]
    return value


def without_user(url: str) -> str:
    """A URL without the user and password in it."""
    head, scheme, rest = url.rpartition("://")
    authority, slash, path = rest.partition("/")
    if "@" not in authority:
        return url
    return f"{head}{scheme}{MASK}@{authority.rpartition('@')[2]}{slash}{path}"
