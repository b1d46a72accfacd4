"""Ways to get a configuration: from arguments in this process, or from a real `locust` command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from locust.argument_parser import LocustArgumentParser

from llmbench_locust.options.config import build_config
from llmbench_locust.options.dotted import expand_dotted
from llmbench_locust.options.flags import add_flags

ROOT = Path(__file__).parent.parent.parent
# A locustfile that prints the configuration it was given, and ends before it would start anything.
LOCUSTFILE = """
import dataclasses, json, sys
from locust import User, events, task
from llmbench_locust.errors import ConfigError
from llmbench_locust.options.config import build_config
from llmbench_locust.options.dotted import expand_sys_argv
from llmbench_locust.options.flags import add_flags

expand_sys_argv(list)
events.init_command_line_parser.add_listener(lambda parser, **_: add_flags(parser))

@events.init.add_listener
def report(environment, **_):
    try:
        config = build_config(environment.parsed_options)
    except ConfigError as e:
        print(f"error: {e}", file=sys.stderr)
        sys.exit(e.exit_code)
    print("CONFIG " + json.dumps(dataclasses.asdict(config), default=repr))
    sys.exit(0)

class Nobody(User):
    @task
    def nothing(self):
        pass
"""


@pytest.fixture
def parse():
    """parse(*argv, num_users=…) -> the namespace, as Locust's parser makes it."""

    def parse(*argv, **locust):
        parser = LocustArgumentParser()
        parser.add_argument("--host")
        add_flags(parser)
        options = parser.parse_args(expand_dotted(argv))
        for name in ("num_users", "run_time", "stop_timeout"):
            setattr(options, name, locust.get(name))
        return options

    return parse


@pytest.fixture
def config(parse):
    return lambda *argv, **locust: build_config(parse(*argv, **locust))


@pytest.fixture(scope="session")
def command(tmp_path_factory):
    """command(*argv, env={}) -> (exit status, configuration or None, stdout, stderr) of a real
    locust process.
    """
    folder = tmp_path_factory.mktemp("locust")
    (folder / "x.py").write_text(LOCUSTFILE)
    (folder / "other.py").write_text("import locust\n")

    def run(*argv, env=None, path=()):
        variables = {
            k: v for k, v in os.environ.items() if not k.startswith(("LLMBENCH_", "LOCUST_"))
        }
        variables["PYTHONPATH"] = os.pathsep.join([str(ROOT), *map(str, path)])
        done = subprocess.run(
            [sys.executable, "-m", "tests.start", *argv],
            cwd=folder,
            env={**variables, **(env or {})},
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        shown = [
            line.removeprefix("CONFIG ")
            for line in done.stdout.splitlines()
            if line.startswith("CONFIG ")
        ]
        return done.returncode, json.loads(shown[0]) if shown else None, done.stdout, done.stderr

    run.folder = folder
    return run
