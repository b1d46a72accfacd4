import pytest

from llmbench_locust.workload.tokenizers import load_tokenizer
from tests.workload.common import DATA, config


@pytest.fixture(scope="session")
def tokenizer():
    return load_tokenizer(config("--tokenizer", DATA / "tokenizer"))
