"""How devices and precisions are named: known without torch, so that a wrong name is told before it is imported."""

from __future__ import annotations

import re

from cotlens.errors import InputError, near_match

__all__ = ["DTYPES", "check_device", "check_dtype"]

DTYPES = ("float32", "bfloat16", "float16")
#: Kinds of device that torch, or a package beside it, may know here; whether this machine has one is seen later.
_KINDS = ("cpu", "cuda", "hpu", "mps", "mtia", "npu", "xla", "xpu")
_NAMES = "cpu, cuda, cuda:1, mps, auto, or sharded (over all accelerators)"


def check_device(name: str) -> None:
    """Raise an `InputError` if no device is called ``name``."""
    if name not in ("auto", "sharded") and not re.fullmatch(rf"({'|'.join(_KINDS)})(:\d+)?", name):
        raise InputError(f"device {name!r} is not known; use {_NAMES}")


def check_dtype(name: str) -> None:
    """Raise an `InputError` if no precision is called ``name``."""
    if name not in DTYPES:
        raise InputError(f"dtype {name!r} is not known{near_match(name, DTYPES)}")
