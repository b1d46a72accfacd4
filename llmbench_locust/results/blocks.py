"""A file of blocks that is appended to while a run goes on: each with its length and a checksum, so
that a file that was cut off anywhere can be read up to its last whole block.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

#: Mark, length of the payload in bytes, its CRC-32.
_HEAD = struct.Struct("<4sII")
_MARK = b"LLMJ"


def block(payload: bytes) -> bytes:
    """``payload`` as it is appended."""
    return _HEAD.pack(_MARK, len(payload), zlib.crc32(payload)) + payload


def read_blocks(path: Path) -> Iterator[bytes | int]:
    """The payloads in their order; where the file goes on after the last whole block, how many
    bytes that is comes last. Raises OSError.
    """
    with path.open("rb") as source:
        while head := source.read(_HEAD.size):
            length, check = (0, -1) if len(head) < _HEAD.size else _HEAD.unpack(head)[1:]
            payload = source.read(length)
            whole = head.startswith(_MARK) and len(payload) == length
            if not whole or zlib.crc32(payload) != check:
                yield len(head) + len(payload) + len(source.read())
                return
            yield payload
