"""How long a user waits, and when it tries again."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from llmbench_locust.draws import draw
from llmbench_locust.records import RecordColumns
from llmbench_locust.users.patience import LONGEST_PAUSE_S, Patience, joined
from llmbench_locust.users.wire import WireConfig
from tests.metrics.rows import failed, row


def wire(**more):
    return WireConfig("openai", ["http://h"], "/v1/completions", "m", **more)


def test_the_share_that_is_drawn_is_cancelled_and_no_other():
    some = wire(cancel_rate=0.25, cancel_after_s=2.0, request_timeout_s=60.0, seed=3)
    limits = [Patience(some, i).limit(0.0) for i in range(4000)]
    cancelled = sum(limit.kind == "cancelled" for limit in limits)
    assert 900 < cancelled < 1100  # 1000 ± 3.6 standard deviations
    assert {limit.seconds for limit in limits} == {2.0, 60.0}
    assert [draw(3, "cancel", i) for i in range(3)] == [draw(3, "cancel", i) for i in range(3)]
    assert Patience(wire(), 0).limit(0.0) is None


@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 999))
def test_pauses_double_up_to_the_longest_and_attempts_are_counted(retries, before, index):
    patience = Patience(wire(retries=retries), index)
    pause_s = patience.pause_s([failed(kind="timeout")] * (before + 1), 0.0)
    if before >= retries:
        assert pause_s is None
    else:
        longest = min(LONGEST_PAUSE_S, 0.5 * 2**before)
        assert longest / 2 <= pause_s <= longest


def test_what_another_attempt_would_meet_again_is_not_tried_again():
    patience = Patience(wire(retries=5), 0)
    for kind, again in (("http_400", False), ("http_429", True), ("http_503", True), ("dns", False),
                        ("cancelled", False), ("cut", True)):  # fmt: skip
        assert (patience.pause_s([failed(kind=kind)], 0.0) is not None) is again
    assert patience.pause_s([row()], 0.0) is None


def test_nobody_tries_again_after_the_time_of_the_whole_request():
    patience = Patience(wire(retries=5, request_timeout_s=3.0, client_timeout_s=1.0), 0)
    assert patience.limit(0.0).seconds == 1.0
    assert patience.limit(2.5).seconds == 0.5
    assert patience.pause_s([failed(kind="timeout")], 2.9) is None


def test_latencies_count_from_the_first_attempt():
    whole = joined([failed(0, 1.0, 2.0, "timeout"), row(0, 2.5, 0.1, [0.2])])
    assert (whole.start_time, whole.success, whole.first_token_time) == (1.0, True, 2.6)
    (first,) = orjson.loads(RecordColumns.from_records([whole]).texts["retried"][0])
    assert (first["start_s"], first["end_s"], first["error_kind"]) == (0.0, 1.0, "timeout")
    assert joined([row()]).retried == ""
