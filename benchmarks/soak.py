"""An hour, or as many minutes as one has: memory and descriptors of the client while it sends.

``python benchmarks/soak.py MINUTES [RATE [FLAG…]]``: 300 requests a second by default against the
simulator, 16 tokens each; ``--no-journal`` keeps outcomes in memory. Samples the client's resident
memory and open descriptors, and prints the slope of memory over completed requests after the first
minute.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import requests

from llmbench_locust.simulator.launch import launch

SAMPLE_S = 5.0


def rss_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> int:
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    rate = float(sys.argv[2]) if len(sys.argv) > 2 else 300.0
    count = int(minutes * 60 * rate)
    options = "--clock fixed --ttft-ms 50 --itl-ms 10 --keep 10 --count words"
    with launch(options.split()) as sim, tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "llmbench_locust", "serve", "--base-url", sim.url),
            *("--tokenizer", "llmbench", "--random-input-len", "16", "--random-output-len", "16"),
            *("--num-prompts", str(count), "--request-rate", str(rate), "--disable-tqdm"),
            *("--save-result", "--result-dir", folder, *sys.argv[3:]),
        ]
        client = subprocess.Popen(command)
        rows: list[tuple[float, int, float, int]] = []
        print("seconds  requests  memory MB  descriptors", flush=True)
        began = time.monotonic()
        while client.poll() is None:
            try:
                done = requests.get(f"{sim.url}/sim/stats?requests=0", timeout=10).json()
                row = (
                    time.monotonic() - began,
                    done["received"],
                    rss_mb(client.pid),
                    len(os.listdir(f"/proc/{client.pid}/fd")),
                )
            except (OSError, requests.RequestException):
                break
            rows.append(row)
            print("{:7.0f}  {:8d}  {:9.1f}  {:11d}".format(*row), flush=True)
            time.sleep(SAMPLE_S)
        status = client.wait()
    sending = [row for row in rows if row[0] > 60 and 0 < row[1] < count]
    if len(sending) > 3:
        _, requests_done, memory, descriptors = map(np.array, zip(*sending, strict=True))
        bytes_each = np.polyfit(requests_done, memory * 1e6, 1)[0]
        print(f"after the first minute: {bytes_each:.0f} bytes a request")
        print(f"descriptors: {descriptors.min()} to {descriptors.max()}")
    return status


if __name__ == "__main__":
    sys.exit(main())
