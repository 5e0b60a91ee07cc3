import pytest
import torch

from cotlens.devices import DTYPES, check_device, check_dtype
from cotlens.errors import InputError


@pytest.mark.parametrize("name", ["auto", "sharded", "cpu", "cuda", "cuda:1", "mps", "xpu:0"])
def test_names_of_devices(name: str) -> None:
    check_device(name)
    if name not in ("auto", "sharded"):
        torch.device(name)


@pytest.mark.parametrize("name", ["", "gpu", "CUDA", "cuda:", "cuda:x", "cuda:1 ", "cuda:-1", "meta"])
def test_what_is_no_device_is_told_with_those_that_are(name: str) -> None:
    with pytest.raises(InputError, match=r"device .* is not known; use cpu, cuda, cuda:1, mps, auto, or sharded"):
        check_device(name)


def test_names_of_dtypes_are_torchs() -> None:
    for name in DTYPES:
        check_dtype(name)
        assert isinstance(getattr(torch, name), torch.dtype)
    with pytest.raises(InputError, match="dtype 'float31' is not known; did you mean 'float32'"):
        check_dtype("float31")
