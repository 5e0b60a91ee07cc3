import pytest
import torch

from cotlens.errors import CotlensError
from cotlens.model.load import load_model


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({"dtype": "float23"}, 2, "did you mean 'float32'"),
        ({"device": "quantum"}, 2, "device 'quantum' is not known"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, str], code: int, message: str) -> None:
    with pytest.raises(CotlensError, match=message) as caught:
        load_model("smollm2-135m", **options)
    assert caught.value.exit_code == code


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
def test_a_missing_accelerator_is_an_environment_fault() -> None:
    with pytest.raises(CotlensError, match="no CUDA device") as caught:
        load_model("smollm2-135m", device="cuda")
    assert caught.value.exit_code == 3


def test_dtype_is_the_one_asked_for(llama_folder) -> None:
    assert load_model(str(llama_folder), device="cpu", dtype="bfloat16").dtype == torch.bfloat16
