"""What the master spends on each token event and each request: reports in, as workers send them,
through to the result.

    python benchmarks/master_cost.py [--requests 20000] [--tokens 16 256]

CPU microseconds, one process, no network: unpack (msgpack), shift to the clock, count once, store,
live figures; apart, the sum at the end.
"""

from __future__ import annotations

import argparse
import time

import msgpack
import numpy as np

from llmbench_locust.dispatch.ledger import Ledger
from llmbench_locust.metrics.live import LiveStats
from llmbench_locust.metrics.store import RecordStore
from llmbench_locust.metrics.vllm import Asked, summarize
from llmbench_locust.records import RecordColumns, RequestRecord


def reports(requests: int, tokens: int, batch: int = 200) -> list[bytes]:
    made = []
    for begin in range(0, requests, batch):
        records = []
        for i in range(begin, min(begin + batch, requests)):
            times = i * 0.001 + 0.1 + np.arange(tokens) * 0.02
            records.append(
                RequestRecord(
                    i,
                    f"bench-{i}",
                    success=True,
                    prompt_len=1024,
                    output_len=tokens,
                    due_time=i * 0.001,
                    start_time=i * 0.001,
                    first_token_time=times[0],
                    end_time=times[-1],
                    token_times=times,
                )
            )
        made.append(msgpack.dumps(RecordColumns.from_records(records).to_message()))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--tokens", type=int, nargs=2, default=[16, 256], metavar=("FEW", "MANY"))
    args = parser.parse_args()
    spent = []
    for tokens in args.tokens:
        raw = reports(args.requests, tokens)
        ledger = Ledger(args.requests)
        ledger.deliver(0, np.arange(args.requests))
        store, live = RecordStore(), LiveStats({"ttft": 500.0}, (50, 90, 99))
        began = time.process_time()
        for message in raw:
            columns = RecordColumns.from_message(msgpack.loads(message))
            columns.shift_times(-1.5)
            ledger.finish(0, columns.ints["index"])
            store.add(columns)
            live.add(columns)
        spent.append(time.process_time() - began)
        began = time.process_time()
        summarize(
            store.columns(),
            Asked(percentiles=(50, 99), goodput_ms={"ttft": 500.0}),
            duration_s=10.0,
        )
        print(
            f"{tokens} tokens: {spent[-1]:.3f} s taken in, {time.process_time() - began:.3f} s "
            "summed up at the end"
        )
    few, many = args.tokens
    each = (spent[1] - spent[0]) / (args.requests * (many - few))
    print(
        f"per token event: {each * 1e6:.3f} us; per request: "
        f"{(spent[0] / args.requests - each * few) * 1e6:.1f} us"
    )


if __name__ == "__main__":
    main()
