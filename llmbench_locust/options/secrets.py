"""Values that must not show: what a page, a file or a line says in their place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json

MASK = "***"
_SECRET_KEY = re.compile(
    r"(api[-_]?key|secret|password|passwd|authorization|bearer|credential|access[-_]?token)$", re.I
)


@dataclass(frozen=True, slots=True)
class Start:
    """What the command line and the environment said when the process started. The web form can
    neither see the secrets nor change any of it.

    ``origin``: the server that the secrets are for (`origin_of`). ``headers``: the words of
    --header and of --header-file. ``fixed``: flags that only the start can set. ``paths``: the
    files and directories that the run may write.
    """

    origin: str
    headers: tuple[str, ...] = field(repr=False)
    fixed: Json
    paths: dict[str, str]

    def check(self, v: Json) -> None:
        """Raises ConfigError for values that go beyond what the start allows."""
        for name, value in self.fixed.items():
            if v[name] != value:
                raise ConfigError(f"{_flag(name)}: can be set only when llmbench is started")
        root = Path(self.paths["result_dir"]).resolve()
        for name, value in self.paths.items():
            given = v[name] or ""
            if not given and name != "result_dir":
                continue  # no such file is written
            if given != value and not Path(given).resolve().is_relative_to(root):
                raise ConfigError(
                    f"{_flag(name)}: {given} is outside {root}; the web form writes only inside "
                    "the result directory of the start"
                )

    def reveal(self, words: Sequence[str], origin: str) -> tuple[str, ...]:
        """The words with their values. Raises ConfigError for a masked value that would go to
        another server than that of the start.
        """
        found = unmasked(words, self.headers)
        hidden = [word.partition("=")[0] for word in words if word.endswith("=" + MASK)]
        if hidden and origin != self.origin:
            raise ConfigError(
                f"--header: the value of {hidden[0]!r} was given for {self.origin} and is not sent "
                f"to {origin}; type a value for that server or remove the header"
            )
        return found


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def origin_of(url: str) -> str:
    """scheme://host:port, in lower case, without user and path."""
    parts = urlsplit(url)
    port = parts.port or {"https": 443}.get(parts.scheme, 80)
    return f"{parts.scheme}://{parts.hostname}:{port}".lower()


def header_lines(path: str) -> tuple[str, ...]:
    """The KEY=VALUE words of a --header-file, one a line; a line that is empty or begins with # is
    none. Raises ConfigError.
    """
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        reason = e.strerror if isinstance(e, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"--header-file: {path} cannot be read: {reason}") from None
    return tuple(line.strip() for line in lines if line.strip() and line.strip()[0] != "#")


def secret_dest(dest: str) -> str:
    """Where the namespace keeps the words of a secret flag; no form shows this name."""
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


def without_secrets(value: object) -> Any:
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
