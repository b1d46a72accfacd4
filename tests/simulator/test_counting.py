"""Prompt lengths: by words without a tokenizer, exactly with one (the gold tokenizer counts as vLLM
did).
"""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from tokenizers import Tokenizer

from llmbench_locust.simulator.ask import Refusal, message_turns
from llmbench_locust.simulator.counting import Counter, TokenCounter

TOKENIZER = Path(__file__).parents[1] / "data" / "tokenizer"
GOLD = Path(__file__).parents[1] / "data" / "streams"


def test_words() -> None:
    assert Counter()(" a  b\nc ") == 3
    assert Counter().chat([("system", "a b"), ("user", "c")]) == 3 + 2 * 4 + 3


def test_tokens_with_a_template() -> None:
    tokenizer = Tokenizer.from_file(str(TOKENIZER / "tokenizer.json"))
    template = (TOKENIZER / "chat_template.jinja").read_text()
    gold = orjson.loads((GOLD / "vllm-tokenize.json").read_bytes())
    text = tokenizer.decode(gold["tokens"])
    count = TokenCounter(tokenizer, template)
    assert count(text) == gold["count"] == 6
    rendered = f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
    assert count.chat([("user", text)]) == len(
        tokenizer.encode(rendered, add_special_tokens=False).ids
    )


def test_what_of_messages_is_hashed() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    text = {"type": "text", "text": "hi"}
    plain = [{"role": "user", "content": "hi"}]
    parts = [{"role": "user", "content": [text]}]
    mixed = [{"role": "user", "content": [image, text]}]
    both = [{"role": "system", "content": "be"}, {"role": "user", "content": "hi"}]
    assert message_turns(plain) == message_turns(parts) == ("hi", [("user", "hi")])
    assert message_turns(mixed) == (mixed, [("user", "hi")])
    assert message_turns(both) == (both, [("system", "be"), ("user", "hi")])
    for bad in (None, [], "hi", ["hi"]):
        with pytest.raises(Refusal):
            message_turns(bad)
