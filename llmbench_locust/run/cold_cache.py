"""Keeps the server's prefix cache of earlier runs out of a run: empties it or salts the prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llmbench_locust.errors import SetupError
from llmbench_locust.json_types import Json
from llmbench_locust.options.config import RunConfig
from llmbench_locust.run.control_api import Server
from llmbench_locust.run.sources import Source


def cool(
    config: RunConfig, servers: Sequence[Server], source: Source, say: Callable[[str], None]
) -> Json:
    """Apply --reset-cache and --cache-bust, and say in one line what was done.

    Returns its entry in the result: ``emptied``, the ``cache_bust`` that was applied, the ``salt``
    of the run. Raises SetupError if the cache must be emptied and could not be.
    """
    errors = [_emptied(config.reset_cache, server) for server in servers]
    error = next(filter(None, errors), errors[0])
    if error and config.reset_cache == "always":
        raise SetupError(f"--reset-cache: the prefix cache was not emptied: {error}")
    bust, told = config.cache_bust, []
    if config.reset_cache != "never":
        told.append(f"not emptied ({error})" if error else "emptied")
    if bust == "auto":
        bust = "run" if error is None or error else "none"
        if bust == "run" and not source.can_be_salted(config):
            bust = "none"
            told.append("prompts have no salt (no tokenizer)")
    salt = source.salt(bust) if bust != "none" else None
    if bust != "none":
        told.append(f"each prompt begins with a salt of {_WHOSE[bust]} (--cache-bust {bust})")
    if told:
        say(f"Prefix cache: {'; '.join(told)}")
    return {"emptied": error == "", "cache_bust": bust, "salt": salt}


_WHOSE = {"run": "this run", "conversation": "its conversation"}


def _emptied(wanted: str, server: Server) -> str | None:
    """ "" once it is empty, or why it is not; None if emptying it was not requested."""
    if wanted == "never":
        return None
    left = server.requests_left() if wanted == "auto" else None
    if left:
        return f"{left} request{'s' if left > 1 else ''} of other clients running"
    return server.reset_cache()
