"""`llmbench capacity`: the largest load that meets the objectives; `llmbench serve --capacity`."""

from __future__ import annotations

from llmbench_locust.cli import serve
from llmbench_locust.cli.help_page import help_page

_USAGE = """\
usage: llmbench capacity --goodput ttft:300 tpot:40 [--attainment 0.95] [--slo CONDITION]
                         [flags of llmbench serve]

Exit status: 0 answered, 1 no answer, 2 bad input, 4 the client was the limit.
"""


def main(argv: list[str]) -> int:
    """Run the search under Locust. Returns the exit status; raises ConfigError."""
    if serve.help_topic(argv) == "":
        print(_USAGE)
        print(help_page("capacity"))
        return 0
    return serve.main([*argv, "--capacity"])
