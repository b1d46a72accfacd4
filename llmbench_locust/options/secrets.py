"""The secrets given at startup: where they are kept, and which server may get them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from llmbench_locust.errors import ConfigError
from llmbench_locust.json_types import Json
from llmbench_locust.redact import MASK, masked, without_user


@dataclass(frozen=True, slots=True)
class Start:
    """What the process was started with. The web form neither sees its secrets nor changes it.

    ``origin``: the server that the secrets are for (`origin_of`). ``headers``: the words of
    --header and of --header-file. ``fixed``: flags that only the start can set. ``paths``: the
    files and directories that the run may write. ``sources``: the files whose text goes to the
    server. ``base_url``: with its password, which the pages show masked.
    """

    origin: str
    headers: tuple[str, ...] = field(repr=False)
    fixed: Json
    paths: dict[str, str]
    sources: dict[str, str]
    base_url: str = field(default="", repr=False)

    def check(self, v: Json) -> None:
        """Raises ConfigError for values that the web form may not set. Restores the password of a
        masked --base-url.
        """
        if self.base_url and v["base_url"] == without_user(self.base_url):
            v["base_url"] = self.base_url
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
                    "the result directory given at startup"
                )
        for name, value in self.sources.items():
            given = str(v[name] or "")
            if given != value and not _readable(given, value):
                raise ConfigError(
                    f"{_flag(name)}: {given} is outside {Path.cwd()}; the web form reads only "
                    "files in the directory where llmbench was started, or beside the file given "
                    "at startup"
                )

    def reveal(self, words: Sequence[str], origin: str) -> tuple[str, ...]:
        """The words with their values. Raises ConfigError if the values are for another server."""
        found = unmasked(words, self.headers)
        hidden = [word.partition("=")[0] for word in words if word.endswith("=" + MASK)]
        if hidden and origin != self.origin:
            raise ConfigError(
                f"--header: the value of {hidden[0]!r} was given for {self.origin} and is not sent "
                f"to {origin}; type a value for that server or remove the header"
            )
        return found


def _readable(given: str, at_start: str) -> bool:
    """Whether the form may use this file. A name on the hub looks like a file in the directory."""
    roots = [Path.cwd(), *([Path(at_start).resolve().parent] if at_start else [])]
    return any(Path(given).resolve().is_relative_to(root) for root in roots)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def origin_of(url: str) -> str:
    """scheme://host:port, in lower case, without user and path."""
    parts = urlsplit(url)
    port = parts.port or {"https": 443}.get(parts.scheme, 80)
    return f"{parts.scheme}://{parts.hostname}:{port}".lower()


def header_lines(path: str) -> tuple[str, ...]:
    """The KEY=VALUE lines of a --header-file, without comments (#). Raises ConfigError."""
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        reason = e.strerror if isinstance(e, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"--header-file: {path} cannot be read: {reason}") from None
    return tuple(line.strip() for line in lines if line.strip() and line.strip()[0] != "#")


def secret_dest(dest: str) -> str:
    """Where the namespace keeps the words of a secret flag; no form shows this name."""
    return f"{dest}_secret"


def unmasked(words: Sequence[str], secrets: Sequence[str]) -> tuple[str, ...]:
    """The words with each KEY=*** replaced by the secret of that key, where there is one."""
    if list(words) == masked(secrets):
        return tuple(secrets)
    known = {word.partition("=")[0]: word for word in secrets}
    return tuple(
        known.get(word.partition("=")[0], word) if word.endswith("=" + MASK) else word
        for word in words
    )
