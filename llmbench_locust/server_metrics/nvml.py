"""The GPUs of this machine as a page of metrics, by NVIDIA's library (`nvidia-ml-py`)."""

from __future__ import annotations

import time
from collections.abc import Sequence

from llmbench_locust.server_metrics.reading import NotMetricsError, Reading

#: What --gpu-metrics has in place of a URL.
NVML = "nvml"


def read_gpus(wanted: Sequence[str]) -> Reading:
    """Power, utilization, memory and energy of the GPUs with these indexes or UUIDs, of all by
    default. Raises NotMetricsError.
    """
    try:
        import pynvml
    except ImportError:
        raise NotMetricsError("nvidia-ml-py is missing: install llmbench-locust[nvml]") from None
    try:
        pynvml.nvmlInit()
        gpus = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            if not wanted or {str(index), pynvml.nvmlDeviceGetUUID(handle)} & set(wanted):
                gpus.append(handle)
        began = time.perf_counter()
        values = {
            "gpus": float(len(gpus)),
            "gpu_power": sum(pynvml.nvmlDeviceGetPowerUsage(g) for g in gpus) / 1e3,
            "gpu_memory": float(sum(pynvml.nvmlDeviceGetMemoryInfo(g).used for g in gpus)),
            "gpu_utilization": sum(pynvml.nvmlDeviceGetUtilizationRates(g).gpu for g in gpus)
            / (100 * max(1, len(gpus))),
        }
        try:
            energy_mj = sum(pynvml.nvmlDeviceGetTotalEnergyConsumption(g) for g in gpus)
            values["gpu_energy"] = energy_mj / 1e3
        except pynvml.NVMLError_NotSupported:
            pass  # before Volta: power alone
    except pynvml.NVMLError as error:
        raise NotMetricsError(f"NVML: {error}") from error
    return Reading((began + time.perf_counter()) / 2, values if gpus else {})
