import pytest

from llmbench_locust.workload.tokenizers import load_tokenizer
from tests.workload2.common import DATA, config


@pytest.fixture(scope="session")
def tokenizer():
    return load_tokenizer(config("--tokenizer", DATA / "tokenizer"))
