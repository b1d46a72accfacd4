"""Records made by hand: times that add up in one's head."""

import numpy as np

from llmbench_locust.metrics.histogram import Histogram
from llmbench_locust.records import RecordColumns, RequestRecord


def histogram(seconds):
    found = Histogram()
    found.add(seconds)
    return found


def lags(seconds, n=100):
    return histogram(np.full(n, seconds))


def row(index=0, start=0.0, ttft=0.1, gaps=(), *, tail=0.0, tokens=None, **more):
    """A successful request: first token after ``ttft``, more after each of ``gaps``, closed
    ``tail`` s after the last.
    """
    times = start + ttft + np.concatenate([[0.0], np.cumsum(np.asarray(gaps, np.float64))])
    given = {
        "request_id": f"r{index}",
        "success": True,
        "status": 200,
        "prompt_len": 10,
        "output_len": len(times) if tokens is None else tokens,
        "start_time": start,
        "due_time": start,
        "client_queue_time": 0.0,
        "connect_s": 0.0,
        "first_token_time": float(times[0]),
        "end_time": float(times[-1]) + tail,
        "token_times": times,
    }
    return RequestRecord(index, **{**given, **more})


def failed(index=0, start=0.0, end=1.0, kind="http_500", error="it broke", **more):
    given = {
        "request_id": f"r{index}",
        "prompt_len": 10,
        "due_time": start,
        "start_time": start,
        "end_time": end,
    }
    return RequestRecord(index, error=error, error_kind=kind, **{**given, **more})


def columns(*records):
    return RecordColumns.from_records(records)
