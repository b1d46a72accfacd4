"""A backend of one's own: the example of docs/extending.md, as it stands there, and one that an
installed package brings.
"""

import re
import sys
from pathlib import Path

import orjson
import pytest

from llmbench_locust.backends import BACKENDS, backend_info
from llmbench_locust.errors import ConfigError
from llmbench_locust.users import protocols
from llmbench_locust.users.protocols import protocol_for
from llmbench_locust.workload.sample import SampleRequest

from .answers import protocol, read

DOCS = Path(__file__).parents[2] / "docs/extending.md"


@pytest.fixture
def clean_registry():
    yield
    for name in ("talk", "packaged"):
        BACKENDS.pop(name, None)
        protocols._REGISTERED.pop(name, None)


def example():
    return re.search(r"```python\n(.*?)```", DOCS.read_text(), re.S).group(1)


def imports():
    return "from llmbench_locust import BackendInfo, Protocol, TextSink, register_protocol\n"


def test_the_example_of_the_docs(clean_registry):
    assert len(example().splitlines()) <= 25
    exec(compile(example(), "example", "exec"), {"__name__": "example"})
    assert backend_info("talk").endpoint == "/talk"
    request = protocol("talk").request(SampleRequest("hi", 1, 5))
    assert (request.target, orjson.loads(request.body)) == (
        "/talk",
        {"say": "hi", "words": 5, "temperature": 0.0},
    )
    record = read(
        "talk",
        '{"piece": "a"}\n{"piece": " b"}\n{"piece": " c"}\n{"total": 3}\n',
        content_type="text/plain",
    )
    assert (record.success, record.output_len, record.text, len(record.token_times)) == (
        True,
        3,
        "a b c",
        3,
    )
    assert read("talk", '{"piece": "a"}\n').error_kind == "cut"
    assert read("talk", '{"error": "tired"}\n').error == "tired"


def test_a_package_brings_one_by_its_entry_point(tmp_path, monkeypatch, clean_registry):
    (tmp_path / "packaged_backend.py").write_text(
        imports()
        + 'class Packaged(Protocol):\n    info = BackendInfo("packaged", "/p", ("p",))\n    '
        "sink_class = TextSink\n"
    )
    info = tmp_path / "packaged_backend-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: packaged-backend\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[llmbench_locust.backends]\npackaged = packaged_backend:Packaged\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert backend_info("packaged").endpoint == "/p"
    assert protocol_for("packaged").__module__ == "packaged_backend"
    sys.modules.pop("packaged_backend", None)


def test_an_unknown_one_is_refused():
    with pytest.raises(ConfigError, match="--backend: 'nope' is not known"):
        backend_info("nope")
    with pytest.raises(ConfigError, match="--backend: 'nope' is not known"):
        protocol_for("nope")
