"""What only the compiled reader can get wrong: memory, arguments, and which reader was chosen."""

from __future__ import annotations

import importlib.util
import re
import shutil
import socket
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench_locust.errors import ConfigError
from llmbench_locust.transport import reader

native = reader._native
pytestmark = pytest.mark.skipif(native is None, reason="the extension was not built")


def test_the_environment_chooses(monkeypatch):
    monkeypatch.delenv("LLMBENCH_READER", raising=False)
    assert reader.reader_type() is reader.NativeReader
    monkeypatch.setenv("LLMBENCH_READER", "python")
    assert reader.reader_type() is reader.StreamReader
    monkeypatch.setenv("LLMBENCH_READER", "rust")
    with pytest.raises(ConfigError, match="'rust' is unknown; use python or native"):
        reader.reader_type()
    monkeypatch.setattr(reader, "_native", None)
    monkeypatch.setenv("LLMBENCH_READER", "native")
    with pytest.raises(ConfigError, match="not built"):
        reader.reader_type()
    monkeypatch.delenv("LLMBENCH_READER")
    assert reader.reader_type() is reader.StreamReader


def test_a_lane_grows():
    lane = native.Lane(b"<", b">")
    text = b"t" * 500
    for i in range(1000):
        assert lane.feed(b"%x\r\n<%b>\r\n" % (len(text) + 2, text), float(i)) == 1
    times, texts, ends = lane.take()
    assert (len(times), texts, len(ends)) == (8000, text * 1000, 4000)
    assert lane.take() is None


@given(st.binary(max_size=60), st.binary(max_size=4), st.binary(max_size=4))
def test_no_bytes_are_too_odd(data, prefix, suffix):
    lane = native.Lane(prefix, suffix)
    assert (lane.feed(data, 0.0) > 0) == (lane.take() is not None)


def test_wrong_arguments_are_refused():
    one = native.Reader(-1)
    lane = native.Lane(b"", b"")
    for call in (
        lambda: one.follow(-1, lane),
        lambda: one.follow(1 << 30, lane),
        lambda: one.follow(1, lane),
        lambda: one.follow(1, object()),
        lambda: one.follow(-1, None),
        lambda: lane.feed("text", 0.0),
        lambda: one.poll(8, 0.0, 0.0, None, None, None),
        lambda: native.Lane(b""),
    ):
        with pytest.raises((TypeError, ValueError, OSError)):
            call()
    for call in (one.leave, one.forget):
        call(12345)
        call(-5)


def test_callbacks_may_leave_and_raise():
    ours, theirs = socket.socketpair()
    with ours, theirs, reader._epoll() as ready:
        ready.register(ours.fileno(), reader.EPOLLIN)
        one = native.Reader(ready.fileno())
        seen = []

        def unknown(fd, data, time_s):
            one.leave(fd)  # frees the lane whose read is handed over
            seen.append((data, time_s))

        def other(fd):
            raise RuntimeError("nobody reads it")

        one.follow(ours.fileno(), native.Lane(b"<", b">"))
        theirs.sendall(b"3\r\n<a>\r\nodd")
        stop_s = time.perf_counter() + 60
        left = one.poll(8, stop_s, float("nan"), other, unknown, None)
        assert left == (1, False, 0, 0, 0, 1)
        assert seen[0][0] == b"3\r\n<a>\r\nodd"
        theirs.sendall(b"3\r\n<a>\r\n")
        one.poll(8, stop_s, float("nan"), other, unknown, None)
        assert seen[1][0] == b"3\r\n<a>\r\n", "without a lane it is handed on"
        one.forget(ours.fileno())
        theirs.sendall(b"x")
        with pytest.raises(RuntimeError, match="nobody"):
            one.poll(8, stop_s, 0.0, other, unknown, None)


def test_what_a_turn_leaves_comes_in_the_next():
    """Streams in a lane are edge-triggered: the kernel tells of each arrival once."""
    pairs = [socket.socketpair() for _ in range(3)]
    with reader._epoll() as ready:
        one = native.Reader(ready.fileno())
        for ours, theirs in pairs:
            ready.register(ours.fileno(), reader.EPOLLIN)
            one.follow(ours.fileno(), native.Lane(b"<", b">"))
            theirs.sendall(b"3\r\n<a>\r\n")
        past, nan = 0.0, float("nan")
        turns = [one.poll(8, past, nan, None, None, None)[:3] for _ in range(4)]
        assert turns == [(1, True, 1), (1, True, 1), (1, False, 1), (0, False, 0)]
    for pair in pairs:
        for sock in pair:
            sock.close()


ROOT = Path(__file__).parents[2]


def test_no_format_depends_on_the_version_it_was_built_with():
    """Built with the headers of 3.13, a `#` in a format raises SystemError on 3.11 and 3.12."""
    source = (ROOT / "llmbench_locust" / "transport" / "_native.c").read_text()
    formats = re.findall(r'(?:ParseTuple|BuildValue|CallFunction)\([^"]*"([^"]*)"', source)
    assert len(formats) >= 10
    assert [given for given in formats if "#" in given] == []


@pytest.mark.parametrize(("compiler", "files"), [("cc", 1), ("no-such-compiler", 0)])
def test_without_a_compiler_the_wheel_is_pure(tmp_path, monkeypatch, compiler, files):
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / module.SOURCE).parent.mkdir(parents=True)
    shutil.copy(ROOT / module.SOURCE, tmp_path / module.SOURCE)
    monkeypatch.setenv("CC", compiler)
    monkeypatch.delenv("CFLAGS", raising=False)
    made = {"artifacts": []}
    hook = module.NativeReaderHook(str(tmp_path), {}, None, None, str(tmp_path), "wheel")
    hook.initialize("standard", made)
    assert len(list(tmp_path.rglob("*.so"))) == files
    assert len(made["artifacts"]) == files
    assert ("pure_python" in made) == bool(files)
