import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from cotlens.errors import CotlensError, EnvironmentFault, ModelFormatError
from cotlens.model.load import load_model, load_source, load_tokenizer
from cotlens.model.placement import Placement, check_plan
from cotlens.model.source import resolve_model

load = sys.modules["cotlens.model.load"]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({"dtype": "float23"}, 2, "did you mean 'float32'"),
        ({"device": "quantum"}, 2, "device 'quantum' is not known; use cpu, cuda, .*sharded"),
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


def test_dtype_is_the_one_asked_for(llama_folder: Path) -> None:
    assert load_model(str(llama_folder), device="cpu", dtype="bfloat16").dtype == torch.bfloat16


def test_a_source_that_was_found_is_loaded(llama_folder: Path, llama) -> None:
    lm = load_source(resolve_model(str(llama_folder)), device="cpu")
    assert lm.name == str(llama_folder)
    assert lm.model.lm_head.weight.equal(llama.model.lm_head.weight)


def test_sharded_spreads_over_what_there_is(llama_folder: Path, llama) -> None:
    lm = load_model(str(llama_folder), device="sharded")
    text = "A box holds 12 eggs."
    ids = torch.tensor([lm.encode(text)], device=lm.device)
    with torch.inference_mode():
        torch.testing.assert_close(lm.model(ids).logits.cpu(), llama.model(ids.cpu()).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("plan", [{"model": "disk"}, {"model.layers.0": 0, "lm_head": "cpu"}])
def test_weights_that_would_be_left_behind_are_refused(plan: dict[str, Any]) -> None:
    with pytest.raises(EnvironmentFault, match="does not fit in the memory of all devices together"):
        check_plan("big", plan)
    check_plan("small", {"": "cpu"})
    check_plan("spread", {"model": 0, "lm_head": 1})


def test_a_plan_covers_every_weight(llama) -> None:
    assert Placement(torch.device("cpu")).plan(llama.model) == {"": torch.device("cpu")}
    plan = Placement(None).plan(llama.model)
    assert all(any(name.startswith(part) for part in plan) for name, _ in llama.model.named_parameters())


@pytest.mark.parametrize(
    "fault",
    [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CPUAllocator: not enough memory")],
    ids=["machine", "device", "torch"],
)
def test_too_little_memory_is_told_as_such(
    llama_folder: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(load.AutoModelForCausalLM, "from_pretrained", fail)
    with pytest.raises(EnvironmentFault, match="does not fit in memory; try --dtype bfloat16") as caught:
        load_model(str(llama_folder), device="cpu")
    assert caught.value.exit_code == 3


@pytest.fixture
def own_code(tmp_path: Path, llama_folder: Path) -> Path:
    """A checkpoint whose configuration, model and tokenizer name Python code that leaves a mark when it runs."""
    for file in llama_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "marking.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w').close()\n"
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        "class Config(LlamaConfig):\n    model_type = 'marking'\n"
        "class Model(LlamaForCausalLM):\n    config_class = Config\n"
    )
    stated = {"AutoConfig": "marking.Config", "AutoModelForCausalLM": "marking.Model"}
    edit(tmp_path / "config.json", model_type="marking", auto_map=stated)
    return tmp_path


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_code_of_a_checkpoint_runs_only_when_asked(own_code: Path, tmp_path_factory, monkeypatch) -> None:
    with pytest.raises(ModelFormatError, match=r"needs Python code .*AutoConfig.*add --trust-remote-code") as caught:
        load_model(str(own_code), device="cpu")
    assert "nothing of it was run" in str(caught.value)
    assert not (own_code / "ran").exists()
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path_factory.mktemp("modules")))
    lm = load_model(str(own_code), device="cpu", trust_remote_code=True)
    assert type(lm.model).__name__ == "Model"
    assert (own_code / "ran").exists()


def test_code_that_is_not_needed_is_left_alone(own_code: Path) -> None:
    edit(own_code / "config.json", model_type="llama")
    assert type(load_model(str(own_code), device="cpu").model).__name__ == "LlamaForCausalLM"
    assert not (own_code / "ran").exists()


@pytest.mark.parametrize("read", [load_tokenizer, load_model])
def test_code_of_a_tokenizer_is_left_alone(own_code: Path, read, llama) -> None:
    config = json.loads((own_code / "config.json").read_text())
    del config["auto_map"]
    (own_code / "config.json").write_text(json.dumps(config | {"model_type": "llama"}))
    mapping = {"AutoTokenizer": [None, "marking.Tokenizer"]}
    edit(own_code / "tokenizer_config.json", tokenizer_class="MarkingTokenizer", auto_map=mapping)
    with pytest.raises(ModelFormatError, match=r"needs Python code .* nothing of it was run; add --trust-remote-code"):
        read(str(own_code))
    assert not (own_code / "ran").exists()


def test_a_pickle_beside_a_config_is_not_opened(tmp_path: Path, llama_folder: Path) -> None:
    for file in llama_folder.glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save({"model.embed_tokens.weight": Mark(tmp_path / "ran")}, tmp_path / "pytorch_model.bin")
    for read in (load_tokenizer, load_model):
        with pytest.raises(ModelFormatError, match="pickle checkpoints"):
            read(str(tmp_path))
    assert not (tmp_path / "ran").exists()


class Mark:
    """Unpickled, it makes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.file), "w"))
