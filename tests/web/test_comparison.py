"""The table of differences between two runs of the page."""

import numpy as np

from llmbench_locust.web.history import _differences
from tests.compare.files import document
from tests.statistics import queues


def verdicts(**other):
    rng = np.random.default_rng(3)
    base, new = (document(queues.run(rng, 0.5, 400)) for _ in range(2))
    found = _differences(base, new | other)
    return {row[-1] for row in found["rows"]}


def test_runs_that_cannot_be_compared_get_no_verdict():
    assert "not comparable" not in verdicts()
    assert verdicts(failed=100) == {"not comparable"}
