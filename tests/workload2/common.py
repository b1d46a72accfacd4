"""What the tests share: a configuration from flags, the tokenizer of the gold data, small files."""

import json
from pathlib import Path

import jinja2
from locust.argument_parser import LocustArgumentParser
from tokenizers import Tokenizer

from llmbench_locust.options.config import build_config
from llmbench_locust.options.dotted import expand_dotted
from llmbench_locust.options.flags import add_flags

DATA = Path(__file__).parent.parent / "data"


def config(*argv):
    """The RunConfig of a command line; request ids start with "g-" as in the gold data."""
    parser = LocustArgumentParser()
    parser.add_argument("--host")
    add_flags(parser)
    return build_config(parser.parse_args(expand_dotted(["--request-id-prefix", "g-", *map(str, argv)])))


class GoldTokenizer:
    """The seam of `llmbench_locust.workload.tokenizers`, over the tokenizers library alone."""

    def __init__(self):
        self._inner = Tokenizer.from_file(str(DATA / "tokenizer/tokenizer.json"))
        self.chat_template = (DATA / "tokenizer/chat_template.jinja").read_text()
        self.vocab_size = self._inner.get_vocab_size(with_added_tokens=False)
        self.all_special_ids = [i for i, t in self._inner.get_added_tokens_decoder().items() if t.special]

    def encode(self, text, add_special_tokens=True):
        return self._inner.encode(text, add_special_tokens=add_special_tokens).ids

    def decode(self, ids):
        return self._inner.decode(ids, skip_special_tokens=False)

    def apply_chat_template(self, messages, add_generation_prompt=True, tokenize=False, **kwargs):
        assert not tokenize
        template = jinja2.Template(self.chat_template)
        return template.render(messages=messages, add_generation_prompt=add_generation_prompt, **kwargs)


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
