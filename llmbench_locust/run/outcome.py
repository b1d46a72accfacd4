"""The exit status of a run. docs/exit-status.md has the same table."""

from __future__ import annotations

OK, FAILED, BAD_INPUT, CHECK_FAILED, NOT_VALID = range(5)


def exit_status(
    *, written: bool, workers_lost: int, completed: int, checks_passed: bool, valid: bool
) -> int | None:
    """What a run that was carried out ends with; None leaves it to Locust (0, or 1 for failures).

    ``written``: all files were. ``completed``: successful requests. ``checks_passed``: every
    ``--check`` held. ``valid``: the result is valid, or ``--strict`` was not given.
    """
    if not written or workers_lost or not completed:
        return FAILED
    if not checks_passed:
        return CHECK_FAILED
    return None if valid else NOT_VALID
