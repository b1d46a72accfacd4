"""Before the clock starts: is the server there, and warm? One request until it succeeds, then the
warm-ups.
"""

from __future__ import annotations

import sys
from time import perf_counter

import gevent
from gevent.pool import Pool
from tqdm import tqdm

from llmbench_locust.errors import SetupError
from llmbench_locust.users.session import Session
from llmbench_locust.workload.sample import SampleRequest

#: Between two tries.
RETRY_S = 5.0


def wait_until_ready(
    session: Session, sample: SampleRequest, timeout_s: float, *, bar: bool = True
) -> None:
    """Send ``sample`` until it succeeds. ``timeout_s`` 0 skips the check. Raises SetupError with
    the last error.
    """
    if timeout_s <= 0:
        return
    began = perf_counter()
    with tqdm(
        total=timeout_s,
        unit="s",
        desc="Waiting for the endpoint",
        disable=not bar,
        leave=False,
        file=sys.stderr,
    ) as shown:
        while True:
            left = timeout_s - (perf_counter() - began)
            record = None
            with gevent.Timeout(max(left, 0.05), False):
                record = session.perform(sample, quiet=True)
            if record is not None and record.success:
                return
            error = record.error if record is not None else f"no answer within {timeout_s:g} s"
            left = timeout_s - (perf_counter() - began)
            if left <= 0:
                raise SetupError(
                    f"the endpoint {session.wire.base_url}{session.wire.endpoint} did not get "
                    "ready within "
                    f"{timeout_s:g} s (--ready-check-timeout-sec): {error}"
                )
            gevent.sleep(min(RETRY_S, left, max(0.2, timeout_s / 20)))
            shown.n = min(timeout_s, perf_counter() - began)
            shown.refresh()


def warm_up(
    session: Session, sample: SampleRequest, count: int, cap: int | None, *, bar: bool = True
) -> int:
    """Send ``count`` requests under the cap; their outcomes are in no figure. Returns how many
    succeeded.
    """
    if count <= 0:
        return 0
    pool = Pool(min(count, cap or count, 256))
    succeeded = 0
    with tqdm(total=count, desc="Warm-up", disable=not bar, file=sys.stderr) as shown:
        for record in pool.imap_unordered(
            lambda _: session.perform(sample, quiet=True), range(count)
        ):
            succeeded += record.success
            shown.update()
    return succeeded
