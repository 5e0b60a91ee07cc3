"""What memory is free where a model lives, and how running out of it shows."""

from __future__ import annotations

import psutil
import torch

__all__ = ["free_bytes", "is_out_of_memory"]

#: Of a `RuntimeError`.
_SIGNS = ("can't allocate memory", "not enough memory", "bad_alloc", "could not create a memory")


def free_bytes(device: torch.device) -> int:
    """Memory that is free now, on an accelerator or in the machine."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says so: an accelerator's, Python's, or those of PyTorch's and oneDNN's allocations on a CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)
