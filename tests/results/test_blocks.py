"""A file of blocks, cut off or damaged anywhere: what is whole is read, nothing else."""

from io import BytesIO

from hypothesis import given
from hypothesis import strategies as st

from llmbench_locust.results.blocks import block, read_blocks

payloads = st.lists(st.binary(max_size=40), min_size=1, max_size=6)


@given(payloads, st.data())
def test_a_cut_file_is_read_up_to_its_last_whole_block(some, data):
    whole = b"".join(map(block, some))
    cut = data.draw(st.integers(0, len(whole)))
    rest = []
    found = list(read_blocks(BytesIO(whole[:cut]), rest.append))
    left = sum(rest)
    assert found == some[: len(found)]
    assert left == cut - sum(len(block(payload)) for payload in found)
    assert len(found) == len(some) or left < len(block(some[len(found)]))


@given(payloads, st.data())
def test_a_damaged_block_ends_the_reading(some, data):
    whole = bytearray(b"".join(map(block, some)))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= 0xFF
    rest = []
    found = list(read_blocks(BytesIO(whole), rest.append))
    [left] = rest
    assert found == some[: len(found)]
    assert left == len(whole) - sum(len(block(payload)) for payload in found)
