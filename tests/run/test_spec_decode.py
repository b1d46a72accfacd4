"""Speculative decoding between two readings of vLLM's page: two engines, two places."""

from llmbench_locust.run.spec_decode import counts_of, figures_between

PAGE = """\
# TYPE vllm:spec_decode_num_drafts_total counter
vllm:spec_decode_num_drafts_total{{engine="0"}} {a}
vllm:spec_decode_num_drafts_total{{engine="1"}} {b}
vllm:spec_decode_num_draft_tokens_total{{engine="0"}} {drafted}
vllm:spec_decode_num_accepted_tokens_total{{engine="0"}} {accepted}
vllm:spec_decode_num_accepted_tokens_per_pos_total{{engine="0",position="0"}} {first}
vllm:spec_decode_num_accepted_tokens_per_pos_total{{engine="0",position="1"}} {second}
"""


def test_the_figures_of_a_run():
    before = counts_of(PAGE.format(a=1, b=2, drafted=6, accepted=3, first=2, second=1))
    after = counts_of(PAGE.format(a=9, b=10, drafted=38, accepted=23, first=14, second=9))
    assert figures_between(before, after) == {
        "spec_decode_acceptance_rate": 62.5,  # 20 of 32
        "spec_decode_acceptance_length": 2.25,  # 1 + 20 / 16
        "spec_decode_num_drafts": 16,
        "spec_decode_draft_tokens": 32,
        "spec_decode_accepted_tokens": 20,
        "spec_decode_per_position_acceptance_rates": [0.75, 0.5],
    }


def test_nothing_where_nothing_was_drafted_or_told():
    page = PAGE.format(a=1, b=2, drafted=6, accepted=3, first=2, second=1)
    assert figures_between(counts_of(page), counts_of(page)) is None
    assert counts_of(None) is None
    assert counts_of("vllm:num_requests_running 3\n") is None
    assert counts_of("<html>vllm:spec_decode_num_</html>") is None
    assert figures_between(None, counts_of(page)) is None
