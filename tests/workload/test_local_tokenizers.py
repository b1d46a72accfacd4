"""A directory's tokenizer means what transformers makes of it, whichever way it is loaded."""

import json
import random
import shutil

import pytest
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from llmbench_locust.workload.tokenizers import HFTokenizer, load_tokenizer

from .test_gold import DATA, config

transformers = pytest.importorskip("transformers")

TEXTS = [
    "hello world",
    "  leading  spaces \n\n x",
    " it 's , ok . n't",
    "naïve 漢字 🙂",
    "",
    "12345 a1",
]
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
LINES = (DATA / "inputs/sonnet.txt").read_text().splitlines()


def metaspace():
    """As Llama 2 has it."""
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    steps = [
        decoders.Replace("▁", " "),
        decoders.ByteFallback(),
        decoders.Fuse(),
        decoders.Strip(" ", 1, 0),
    ]
    made.decoder = decoders.Sequence(steps)
    made.train_from_iterator(
        LINES, trainers.BpeTrainer(vocab_size=500, special_tokens=list(SPECIAL.values()))
    )
    return with_bos(made)


def word_pieces():
    made = Tokenizer(models.WordPiece(unk_token="<unk>"))
    made.pre_tokenizer, made.decoder = (
        pre_tokenizers.BertPreTokenizer(),
        decoders.WordPiece(cleanup=False),
    )
    made.train_from_iterator(
        LINES, trainers.WordPieceTrainer(vocab_size=500, special_tokens=list(SPECIAL.values()))
    )
    return with_bos(made)


def with_bos(made):
    special = [("<s>", made.token_to_id("<s>"))]
    made.post_processor = processors.TemplateProcessing(
        "<s> $A", pair="<s> $A <s> $B", special_tokens=special
    )
    return made


def byte_level():
    return Tokenizer.from_file(str(DATA / "tokenizer/tokenizer.json"))


OWN = json.loads((DATA / "tokenizer/tokenizer_config.json").read_text())


@pytest.mark.parametrize(
    ("make", "settings", "through_transformers"),
    [
        (byte_level, OWN, False),
        (
            byte_level,
            {
                **OWN,
                "tokenizer_class": "PreTrainedTokenizerFast",
                "clean_up_tokenization_spaces": True,
            },
            False,
        ),
        (byte_level, {**OWN, "tokenizer_class": "LlamaTokenizerFast"}, False),
        (byte_level, {**OWN, "tokenizer_class": "GPT2Tokenizer"}, False),
        (metaspace, {**SPECIAL, "tokenizer_class": "LlamaTokenizerFast"}, True),
        (
            metaspace,
            {
                **SPECIAL,
                "tokenizer_class": "PreTrainedTokenizerFast",
                "clean_up_tokenization_spaces": True,
            },
            False,
        ),
        (
            word_pieces,
            {
                **SPECIAL,
                "tokenizer_class": "PreTrainedTokenizerFast",
                "clean_up_tokenization_spaces": True,
            },
            False,
        ),
        (word_pieces, {**SPECIAL, "tokenizer_class": "PreTrainedTokenizerFast"}, False),
    ],
)
def test_equal_to_transformers(make, settings, through_transformers, tmp_path):
    made = make()
    made.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    ours = load_tokenizer(config("random", tokenizer=str(tmp_path)))
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    assert isinstance(ours, HFTokenizer) == through_transformers
    assert ours.vocab_size == theirs.vocab_size
    assert ours.num_special_tokens_to_add() == theirs.num_special_tokens_to_add()
    assert set(ours.all_special_ids) == set(theirs.all_special_ids)
    for special in (True, False):
        expected = [theirs.encode(text, add_special_tokens=special) for text in TEXTS]
        assert [ours.encode(text, add_special_tokens=special) for text in TEXTS] == expected
        assert ours.encode_batch(TEXTS, add_special_tokens=special) == expected
        assert ours.count_batch(TEXTS, add_special_tokens=special) == [len(ids) for ids in expected]
    rng = random.Random(3)
    batch = [[rng.randrange(theirs.vocab_size) for _ in range(30)] for _ in range(40)]
    for skip in (True, False):
        expected = [theirs.decode(ids, skip_special_tokens=skip) for ids in batch]
        assert [ours.decode(ids, skip_special_tokens=skip) for ids in batch] == expected
        assert ours.decode_batch(batch, skip_special_tokens=skip) == expected


def test_the_class_may_stand_in_the_models_own_config(tmp_path):
    """Without a class in tokenizer_config.json, the model's type decides, as it does for
    transformers.
    """
    metaspace().save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(SPECIAL))
    shutil.copy(DATA / "tokenizer/chat_template.jinja", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    ours = load_tokenizer(config("random", tokenizer=str(tmp_path)))
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    assert ours.encode_batch(TEXTS) == [
        theirs.encode(text, add_special_tokens=False) for text in TEXTS
    ]
    messages = [{"role": "user", "content": "hi"}]
    text = theirs.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert ours.apply_chat_template(messages) == text
