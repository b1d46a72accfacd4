"""A file of blocks that a run appends to. Each has its length and a checksum, so that a file that
was truncated anywhere can be read up to its last complete block.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

#: Magic bytes, length of the payload in bytes, its CRC-32.
_HEAD = struct.Struct("<4sII")
_MARK = b"LLMJ"


def block(payload: bytes) -> bytes:
    """``payload`` with its block header."""
    return _HEAD.pack(_MARK, len(payload), zlib.crc32(payload)) + payload


def read_blocks(
    source: BinaryIO, left: Callable[[int], object] = lambda size: None
) -> Iterator[bytes]:
    """The payloads in order. ``left`` is called with the number of bytes after the last complete
    block, if there are any. Raises OSError.
    """
    while head := source.read(_HEAD.size):
        length, check = (0, -1) if len(head) < _HEAD.size else _HEAD.unpack(head)[1:]
        payload = source.read(length)
        whole = head.startswith(_MARK) and len(payload) == length
        if not whole or zlib.crc32(payload) != check:
            left(len(head) + len(payload) + len(source.read()))
            return
        yield payload
