"""The exceptions of the package: whose fault it is decides the class.

    BenchError
    ├── ConfigError     the user's: a flag, a file, a combination; one line, exit status 2, before a request is sent
    └── SetupError      the surroundings': the server never became ready, no model was listed; one line, exit status 1

A fault of the server during the run is no exception: it is data in that request's record.
"""


class BenchError(Exception):
    """Base of all errors that end a run with one clear line instead of a traceback."""

    exit_code = 1


class ConfigError(BenchError):
    """Bad input. The message names the flag, what was wrong and what is allowed."""

    exit_code = 2


class SetupError(BenchError):
    """The run could not begin: the server is not ready, or does not say what it serves."""
