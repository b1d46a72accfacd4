"""`llmbench locustfile > my.py`: a commented locustfile as a template."""

from __future__ import annotations

from importlib.resources import files

from llmbench_locust.errors import ConfigError


def main(argv: list[str]) -> int:
    """Print the template. Raises ConfigError for any argument but --help."""
    if argv in (["--help"], ["-h"]):
        print("usage: llmbench locustfile > my.py\n\nThen: locust -f my.py --headless --sim -t 30s")
        return 0
    if argv:
        raise ConfigError(f"locustfile: unexpected argument {argv[0]!r}; it takes none")
    print((files("llmbench_locust.locustfiles") / "template.py").read_text(), end="")
    return 0
