"""vLLM's speculative decoding figures from its metrics page before and after a run. Pure."""

from __future__ import annotations

from collections import defaultdict

from llmbench_locust.json_types import Json
from llmbench_locust.server_metrics.reading import NotMetricsError, samples_of

_PREFIX = "vllm:spec_decode_num_"

#: (counter name without prefix and ``_total``, position in the draft or "") → sum over all engines.
Counts = dict[tuple[str, str], float]


def counts_of(page: str | None) -> Counts | None:
    """The counters in a server's Prometheus text; None if it has none of them."""
    if page is None or _PREFIX not in page:
        return None
    found: Counts = defaultdict(float)
    try:
        for name, labels, value in samples_of(page, (_PREFIX,)):
            if name.startswith(_PREFIX):
                short = name.removeprefix(_PREFIX).removesuffix("_total")
                found[short, labels.get("position", "")] += value
    except NotMetricsError:
        return None
    return dict(found) or None


def figures_between(before: Counts | None, after: Counts | None) -> Json | None:
    """The run's figures by vLLM's JSON keys; None if nothing was drafted.

    acceptance rate % = accepted ÷ draft tokens · 100; acceptance length = 1 + accepted ÷ drafts.
    """
    if before is None or after is None:
        return None
    delta = {key: value - before.get(key, 0.0) for key, value in after.items()}
    names = ("drafts", "draft_tokens", "accepted_tokens")
    drafts, draft_tokens, accepted = (delta.get((name, ""), 0.0) for name in names)
    if draft_tokens <= 0 or drafts <= 0:
        return None
    positions = sorted(int(at) for name, at in delta if name == "accepted_tokens_per_pos" and at)
    rates = [delta["accepted_tokens_per_pos", str(at)] / drafts for at in positions]
    return {
        "spec_decode_acceptance_rate": accepted / draft_tokens * 100,
        "spec_decode_acceptance_length": 1 + accepted / drafts,
        "spec_decode_num_drafts": int(drafts),
        "spec_decode_draft_tokens": int(draft_tokens),
        "spec_decode_accepted_tokens": int(accepted),
        "spec_decode_per_position_acceptance_rates": rates,
    }
