import pytest

from tests.workload2.common import GoldTokenizer


@pytest.fixture(scope="session")
def tokenizer():
    return GoldTokenizer()
