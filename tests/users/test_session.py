"""What a request's record says where the protocol itself made none."""

from llmbench_locust.users.session import PlanEntry, Session
from llmbench_locust.users.wire import WireConfig
from llmbench_locust.workload.sample import SampleRequest


def test_a_request_that_could_not_be_made_is_counted_with_its_label_and_session():
    wire = WireConfig("vllm-rerank", ["http://127.0.0.1:9"], "/v1/rerank", "m")
    sample = SampleRequest("a text alone", 3, None, "r", label="long", conversation=4, turn=1)
    record = Session(object(), wire).perform(sample, PlanEntry(5), quiet=True)
    assert (record.index, record.error_kind) == (5, "client")
    assert (record.label, record.conversation, record.turn) == ("long", 4, 1)
    assert (record.request_id, record.prompt_len, record.expected_output_len) == ("r", 3, -1)
