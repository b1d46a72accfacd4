"""Energy of a run, from readings whose truth is worked out by hand."""

import subprocess
import sys

import pytest

from llmbench_locust.server_metrics.energy import energy_of
from llmbench_locust.server_metrics.reading import Reading, parse


def joules(t, start=3.6, end=33.6, idle=100.0, busy=300.0):
    """Of a GPU that is busy between two times."""
    return idle * t + (busy - idle) * (min(max(t, start), end) - start)


def readings(names, period=0.5, renewed=0.5, until=34.6):
    """Read every ``period``, from an exporter that renews its values every ``renewed`` seconds."""
    found = []
    for i in range(int(until / period) + 1):
        t = i * period // renewed * renewed
        values = {"gpu_energy": joules(t), "gpu_power": 300.0 if 3.6 <= t < 33.6 else 100.0}
        found.append(Reading(i * period, {name: values[name] for name in names}))
    return found


def test_the_counter_is_exact_at_both_ends_of_the_run():
    """30 s at 300 W; the readings are 0.1 and 0.4 s off."""
    found = energy_of(readings(("gpu_energy", "gpu_power")), 3.6, 33.6)
    assert found.joules == pytest.approx(9000, rel=1e-9)


def test_an_exporter_that_renews_every_two_seconds():
    found = energy_of(readings(("gpu_energy", "gpu_power"), renewed=2, until=36), 3.6, 33.6)
    assert found.joules == pytest.approx(9000, rel=0.02)


@pytest.mark.parametrize("names", [("gpu_energy",), ("gpu_power",)])
def test_one_of_the_two_is_enough_where_power_is_even(names):
    steady = [
        Reading(t / 2, {"gpu_energy": 250.0 * t / 2, "gpu_power": 250.0 + t % 2 - 0.5})
        for t in range(80)
    ]
    shown = [Reading(r.time_s, {name: r.values[name] for name in names}) for r in steady]
    assert energy_of(shown, 3.6, 33.6).joules == pytest.approx(7500, rel=1e-3)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda r: [*r[:30], *(Reading(x.time_s, {"gpu_energy": 1.0}) for x in r[30:])],
            "decreased",
        ),
        (lambda r: [*r[:20], *r[40:]], "not read for 10 s"),
        (lambda r: r[:40], "not read for 14 s"),
        (lambda r: r[:1], "not read for 30 s"),
        (lambda r: [Reading(x.time_s) for x in r], "no energy and no power"),
        (lambda r: [Reading(x.time_s, {"gpu_energy": 5.0}) for x in r], "did not change"),
    ],
)
def test_where_it_is_unknown_the_reason_is_said(change, reason):
    found = energy_of(change(readings(("gpu_energy", "gpu_power"))), 3.6, 33.6)
    assert found.joules is None
    assert reason in found.reason


def test_a_run_of_few_values_has_no_energy():
    """The exporter's usual 30 seconds."""
    found = energy_of(readings(("gpu_energy",), renewed=10, until=50), 3.6, 33.6)
    assert found.joules is None
    assert "a new value every 10.0 s" in found.reason


def test_units_and_the_chosen_gpus():
    text = "".join(
        f'DCGM_FI_DEV_POWER_USAGE{{gpu="{i}",UUID="GPU-{i}"}} {100 * (i + 1)}\n'
        f'DCGM_FI_DEV_GPU_UTIL{{gpu="{i}",UUID="GPU-{i}"}} {20 * (i + 1)}\n'
        f'DCGM_FI_DEV_FB_USED{{gpu="{i}",UUID="GPU-{i}"}} 1024\n'
        f'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{gpu="{i}",UUID="GPU-{i}"}} {5000 * (i + 1)}\n'
        for i in range(3)
    )
    assert parse(text, 0).values == pytest.approx(
        {
            "gpus": 3,
            "gpu_power": 600,
            "gpu_utilization": 0.4,
            "gpu_memory": 3 * 2**30,
            "gpu_energy": 30,
        }
    )
    chosen = parse(text, 0, ("0", "GPU-2")).values
    assert (chosen["gpus"], chosen["gpu_power"], chosen["gpu_energy"]) == (2, 400, 20)


#: As much of NVIDIA's library as is asked: two GPUs of 150 and 250 W.
LIBRARY = """
#include <stdio.h>
int nvmlInitWithFlags(unsigned f) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **d) { *d = (void *)(long)(i + 1); return 0; }
int nvmlDeviceGetUUID(void *d, char *s, unsigned n) { sprintf(s, "GPU-%ld", (long)d); return 0; }
int nvmlDeviceGetPowerUsage(void *d, unsigned *mw) { *mw = 50000 + 100000 * (long)d; return 0; }
int nvmlDeviceGetUtilizationRates(void *d, unsigned *u) { u[0] = 30 * (long)d; return 0; }
int nvmlDeviceGetMemoryInfo(void *d, unsigned long long *m) {
    m[0] = 9; m[1] = 5; m[2] = 1000;
    return 0;
}
int nvmlDeviceGetTotalEnergyConsumption(void *d, unsigned long long *mj) {
    *mj = 2000 * (long)d;
    return 0;
}
"""


def test_the_gpus_of_this_machine(tmp_path):
    library = tmp_path / "libnvidia-ml.so.1"
    build = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)]
    subprocess.run(build, input=LIBRARY.encode(), check=True)
    code = "from llmbench_locust.server_metrics.scraper import read_gpus as r; print(r(()).values, "
    done = subprocess.run(
        [sys.executable, "-c", code + "r(['1']).values)"],
        env={"LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    values = {
        "gpus": 2.0,
        "gpu_power": 400.0,
        "gpu_memory": 2000.0,
        "gpu_utilization": 0.45,
        "gpu_energy": 6.0,
    }
    second = {
        "gpus": 1.0,
        "gpu_power": 250.0,
        "gpu_memory": 1000.0,
        "gpu_utilization": 0.6,
        "gpu_energy": 4.0,
    }
    assert done.stdout.strip() == f"{values} {second}"
