"""What the machine can do at best, measured: matrix products and memory copies; and its description."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

#: The projection's product: a block of neurons with the unembedding of SmolLM2-135M.
_PRODUCT = (512, 576, 49152)
_COPY_BYTES = 2**28


def describe() -> dict[str, Any]:
    """The machine and the versions that matter."""
    with_memory = "SC_PHYS_PAGES" in os.sysconf_names
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 if with_memory else 0.0
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(memory, 1),
        "python": platform.python_version(),
        "torch": version("torch"),
        "transformers": version("transformers"),
        "load_average": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    found = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return found or platform.processor() or platform.machine()


def prepare(job: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """Work for `benchmarks.serve`: GFLOP/s of the product in fp32 and bf16, and GB/s that a copy reads and writes, on
    the job's ``device``; and the name of an accelerator."""
    import torch

    device = torch.device(job["device"])

    def work() -> dict[str, Any]:
        return {
            "fp32_gflops": _product(torch.float32, device),
            "bf16_gflops": _product(torch.bfloat16, device),
            "copy_gb_s": _copy(device),
            "threads": torch.get_num_threads(),
            "accelerator": torch.cuda.get_device_name(device) if device.type == "cuda" else "",
        }

    return work


def _product(dtype: Any, device: Any) -> float:
    import torch

    n, width, tokens = _PRODUCT
    left, right = (torch.randn(size, width, device=device).to(dtype) for size in (n, tokens))
    out = torch.empty(n, tokens, dtype=dtype, device=device)
    seconds = _median(lambda: torch.mm(left, right.T, out=out), device)
    return 2 * n * width * tokens / seconds / 1e9


def _copy(device: Any) -> float:
    import torch

    source = torch.ones(_COPY_BYTES // 4, device=device)
    target = torch.empty_like(source)
    return 2 * _COPY_BYTES / _median(lambda: target.copy_(source), device) / 1e9


def _median(work: Callable[[], Any], device: Any, times: int = 7) -> float:
    import torch

    work()
    found = []
    for _ in range(times):
        torch.get_device_module(device).synchronize()  # an accelerator works on while Python goes on
        started = time.perf_counter()
        work()
        torch.get_device_module(device).synchronize()
        found.append(time.perf_counter() - started)
    return statistics.median(found)
