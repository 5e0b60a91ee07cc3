"""What memory is free where a model lives, and how running out of it shows."""

from __future__ import annotations

import psutil
import torch

__all__ = ["free_bytes", "is_out_of_memory"]


def free_bytes(device: torch.device) -> int:
    """Memory that is free now, on an accelerator or in the machine."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
