"""What the tests share: a configuration from flags, the tokenizer of the gold data, small files."""

import json
from pathlib import Path

from locust.argument_parser import LocustArgumentParser

from llmbench_locust.options.config import build_config
from llmbench_locust.options.dotted import expand_dotted
from llmbench_locust.options.flags import add_flags

DATA = Path(__file__).parent.parent / "data"


def config(*argv, users=None):
    """The RunConfig of a command line; request ids start with "g-" as in the gold data. ``users``:
    Locust's -u.
    """
    parser = LocustArgumentParser()
    parser.add_argument("--host")
    add_flags(parser)
    options = parser.parse_args(expand_dotted(["--request-id-prefix", "g-", *map(str, argv)]))
    options.num_users = users
    return build_config(options)


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
