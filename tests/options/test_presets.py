"""Presets: each is a run that can be had, and what is given besides wins."""

from pathlib import Path

import pytest

from llmbench_locust.errors import ConfigError
from llmbench_locust.options.config import build_config
from llmbench_locust.options.dotted import expand_dotted
from llmbench_locust.options.presets import PRESETS, Listed
from tests.cli.test_command_line import config_of, parser

PAGE = (Path(__file__).parents[2] / "docs" / "users.md").read_text()


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_has_lengths_arrivals_and_objectives(name):
    config = config_of(f"--preset {name}")
    assert config.goodput
    assert config.request_rate == 1 or config.concurrent_sessions
    base = name.removesuffix("-interactive")
    assert f"`{base}`" in PAGE


def test_what_is_given_besides_wins():
    config = config_of("--random-input-len 7 --preset chat --goodput ttft:9 --request_rate 4")
    assert (config.random_input_len, config.random_output_len) == (7, 129)
    assert (config.goodput, config.request_rate) == ({"ttft": 9.0}, 4)
    assert config_of("--preset chat --max-concurrency 4").request_rate == float("inf")
    sessions = config_of("--preset=agentic --request-rate 2 --num-prompts 50")
    assert (sessions.concurrent_sessions, sessions.num_sessions) == (None, None)
    assert sessions.num_prompts == 50
    assert config_of("--preset code --duration 30s").num_prompts == 30


def test_mlperfs_limits():
    """As published for Llama 3.1 8B, interactive."""
    config = config_of("--preset mlperf-llama3.1-8b-interactive")
    assert config.goodput == {"ttft": 500.0, "tpot": 30.0}


def test_a_list_and_an_unknown_name():
    with pytest.raises(Listed, match="agentic"):
        expand_dotted(["--preset", "list"])
    with pytest.raises(ConfigError, match="'chatt' is not known; use one of chat, code"):
        expand_dotted(["--preset", "chatt"])
    options = parser().parse_args([])
    options.preset = "chat"  # of a file of Locust's, which is read too late
    with pytest.raises(ConfigError, match="--preset: give it on the command line"):
        build_config(options)
