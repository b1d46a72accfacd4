"""Masks secrets for files, messages and pages. Pure, and the only place for it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

MASK = "***"
#: Maximum length of a message.
MOST_CHARS = 500
# Shorter values are not treated as secrets: they would match in every message.
_SHORTEST_SECRET = 6

_SECRET_KEY = re.compile(
    r"(api[-_]?key|secret|password|passwd|authorization|bearer|credential|access[-_]?token)$", re.I
)
_SECRET_HEADER = re.compile(r"auth|key|token|secret|cookie|password|session", re.I)
# What servers echo: keys of the usual forms, authorization headers, users in URLs, and values
# whose names sound secret.
_SECRETS = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}"), r"\1 ***"),
    (re.compile(r"\b(sk|hf|pk|gsk|xai|AKIA)[-_][A-Za-z0-9_-]{8,}"), r"\1-***"),
    (re.compile(r"://[^/\s:@]+:[^/\s@]+@"), "://***@"),
    (
        re.compile(
            r"(?i)\b(api[-_ ]?key|authorization|password|secret|access[-_]?token)"
            r"""(["']?\s*[:=]\s*["']?)[^\s"',;*]{4,}"""
        ),
        r"\1\2***",
    ),
)


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    """The text on one line, truncated, with ``***`` for ``secrets`` and what looks like one.

    Control characters are removed, because server messages are shown on terminals.
    """
    for secret in secrets:
        text = text.replace(secret, MASK)
    text = "".join(c if c.isprintable() else " " for c in text)
    text = " ".join(text.split())
    for pattern, shown in _SECRETS:
        text = pattern.sub(shown, text)
    return text if len(text) <= MOST_CHARS else text[: MOST_CHARS - 1] + "…"


def secrets_of(api_key: str, headers: Mapping[str, str]) -> tuple[str, ...]:
    """The secrets to mask, longest first: the key, header values, the token after Bearer."""
    found = {api_key, *headers.values()}
    for name, value in headers.items():
        if _SECRET_HEADER.search(name):
            found.update(re.split(r"[\s;,=]+", value))
    long = (s for s in found if len(s) >= _SHORTEST_SECRET and s.lower() != "bearer")
    return tuple(sorted(long, key=len, reverse=True))


def without_secrets(value: object) -> object:
    """The same JSON value, masked under every key whose name sounds secret."""
    if isinstance(value, dict):
        hidden = {key: bool(_SECRET_KEY.search(str(key))) for key in value}
        return {k: MASK if hidden[k] else without_secrets(v) for k, v in value.items()}
    return [without_secrets(v) for v in value] if isinstance(value, list) else value


def without_user(url: str) -> str:
    """A URL, or several separated by spaces, without users and passwords."""
    words = []
    for word in url.split(" "):
        head, scheme, rest = word.partition("://")
        head, rest = (head, rest) if scheme else ("", head)
        authority, slash, path = rest.partition("/")
        user, _, host = authority.rpartition("@")
        words.append(f"{head}{scheme}{MASK}@{host}{slash}{path}" if user else word)
    return " ".join(words)


def masked(words: Iterable[str]) -> list[str]:
    """KEY=*** for each KEY=VALUE; only the beginning of any other word."""
    parts = ((word, *word.partition("=")[:2]) for word in words)
    return [f"{key}={MASK}" if mark else beginning(word) for word, key, mark in parts]


def beginning(word: str) -> str:
    """The beginning of a word that may contain a secret in an unexpected form."""
    return re.split(r"[\s:=]", word, maxsplit=1)[0][:16]
