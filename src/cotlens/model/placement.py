"""Which devices a model's weights go to, and in which precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from cotlens.devices import check_device, check_dtype
from cotlens.errors import EnvironmentFault

__all__ = ["Placement", "check_plan"]


@dataclass(frozen=True, slots=True)
class Placement:
    """One device for all weights, or, where ``device`` is None, as many as it takes."""

    device: torch.device | None
    dtype: torch.dtype = torch.float32

    @classmethod
    def parse(cls, device: str, dtype: str) -> Placement:
        """What the settings ``device`` and ``dtype`` mean on this machine.

        Raises:
            InputError: an unknown dtype or device.
            EnvironmentFault: a device that this machine has not got.
        """
        check_dtype(dtype)
        check_device(device)
        return cls(None if device == "sharded" else _find_device(device), getattr(torch, dtype))

    def device_map(self) -> Any:
        """What the Hugging Face loaders take; None where they need not be told."""
        if self.device is None:
            return "auto"
        return None if self.device.type == "cpu" else {"": self.device}

    def plan(self, model: nn.Module) -> dict[str, Any]:
        """Each part of ``model`` (its weights may be missing yet) and its device, as the loaders would decide."""
        if self.device is not None:
            return {"": self.device}
        from accelerate import infer_auto_device_map
        from accelerate.utils import get_balanced_memory

        whole = {"dtype": self.dtype, "no_split_module_classes": list(getattr(model, "_no_split_modules", None) or ())}
        room = get_balanced_memory(model, **whole)
        plan: dict[str, Any] = infer_auto_device_map(model, max_memory=room, **whole)
        return plan


def check_plan(name: str, plan: dict[str, Any]) -> None:
    """Refuse a plan that leaves weights behind: on disk, or in the machine's memory beside accelerators.

    Such weights are fetched for each forward pass and gone between two, when value vectors are to be read.
    """
    places = {str(place) for place in plan.values()}
    if "disk" in places or ("cpu" in places and len(places) > 1):
        raise EnvironmentFault(
            f"{name}: does not fit in the memory of all devices together; try --dtype bfloat16 or a quantised model"
        )


def _find_device(name: str) -> torch.device:
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return accelerator or torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise EnvironmentFault(f"device {name!r}: this torch knows no such device; use --device cpu") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise EnvironmentFault(f"device {name!r}: no CUDA device is available; use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EnvironmentFault(f"device {name!r}: this machine has cuda:0 to cuda:{torch.cuda.device_count() - 1}")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise EnvironmentFault(f"device {name!r}: not available here; use --device cpu")
    return device
