"""A salt changes where a prompt begins, and neither its length nor what prompts share."""

from itertools import takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbench_locust.workload.salt import new_salt, salted
from llmbench_locust.workload.sample import SampleRequest

SALT = "[0a1b2c3d4e]"


def lengths(samples, tokenizer):
    return [len(tokenizer.encode(s.prompt, add_special_tokens=False)) for s in samples]


def sample(prompt, tokenizer, **more):
    return SampleRequest(prompt, len(tokenizer.encode(prompt, False)), 1, **more)


def test_no_two_salts_are_equal():
    assert len({new_salt() for _ in range(1000)}) == 1000


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 4000), min_size=1, max_size=60), min_size=1, max_size=8))
def test_lengths_stay_whatever_the_tokens(tokenizer, rows):
    samples = [sample(tokenizer.decode(row), tokenizer) for row in rows]
    samples = [s for s in samples if s.prompt_len]
    done = salted(samples, [SALT] * len(samples), tokenizer)
    assert lengths(done, tokenizer) == [s.prompt_len for s in samples]
    assert [s.prompt_len for s in done] == [s.prompt_len for s in samples]
    assert all(SALT.startswith(s.prompt[:2]) for s in done)


@settings(max_examples=40, deadline=None)
@given(
    st.text("ab cd.\n é日", min_size=30, max_size=90), st.lists(st.text(max_size=20), max_size=5)
)
def test_what_prompts_share_they_still_share(tokenizer, prefix, endings):
    samples = [sample(f"{prefix} end: {ending}", tokenizer) for ending in endings]
    done = [s.prompt for s in salted(samples, [SALT] * len(samples), tokenizer)]
    for before, after in zip(samples, done, strict=True):
        pairs = zip(before.prompt[::-1], after[::-1], strict=False)
        kept = len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
        assert kept >= len(before.prompt) - len(prefix)
        assert after[:-kept] == done[0][: len(after) - kept]


def test_a_chat_template_stays_at_the_front(tokenizer):
    words = "Tell me a long story about a small server and its many users"
    whole = tokenizer.apply_chat_template([{"role": "user", "content": words}])
    (done,) = salted([sample(whole, tokenizer)], [SALT], tokenizer)
    head = whole[: whole.index(words)]
    assert done.prompt.startswith(f"{head}{SALT}")
    assert lengths([done], tokenizer) == [len(tokenizer.encode(whole, False))]


@pytest.mark.parametrize(
    ("given", "front"),
    [
        ({"chat_messages": [{"role": "user", "content": "word " * 40}]}, ("content",)),
        (
            {"chat_messages": [{"role": "user", "content": [{"type": "text", "text": "w " * 40}]}]},
            ("content", 0, "text"),
        ),
        (
            {"chat_messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            ("content", 0, "text"),
        ),
    ],
)
def test_messages_have_it_in_their_first_text(tokenizer, given, front):
    (done,) = salted([SampleRequest("", 0, 1, **given)], [SALT], tokenizer)
    found = done.chat_messages[0]
    for key in front:
        found = found[key]
    assert found.startswith(SALT)
    assert given["chat_messages"] != done.chat_messages  # those of others are not touched


def test_token_ids_batches_and_later_turns(tokenizer):
    later = SampleRequest("and then?", 3, 1, conversation=0, turn=1)
    ids = SampleRequest(list(range(100, 140)), 40, 1)
    batch = SampleRequest(["word " * 40, "other " * 40], 80, 0)
    a, b, c = salted([later, ids, batch], [SALT] * 3, tokenizer)
    assert a == later
    own = tokenizer.encode(SALT, add_special_tokens=False)
    assert b.prompt == [*own, *range(100 + len(own), 140)]
    assert [text[: len(SALT)] for text in c.prompt] == [SALT, SALT]
