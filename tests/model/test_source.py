import json
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import T5Config

from cotlens.errors import InputError, ModelFormatError, ModelNotFoundError
from cotlens.model.load import load_model
from cotlens.model.source import resolve_model
from cotlens.types import NeuronId


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("smollm2-135", "did you mean 'smollm2-135m'"),
        ("./nowhere", "no such file or folder"),
        ("/nowhere/at/all", "no such file or folder"),
        ("missing.gguf", "no such file or folder"),
        ("", "name is empty"),
    ],
)
def test_a_name_that_leads_nowhere_says_so(name: str, message: str) -> None:
    with pytest.raises(ModelNotFoundError, match=message):
        resolve_model(name)


def test_a_folder_without_config_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match=r"neither config\.json .* nor params\.json"):
        resolve_model(str(tmp_path))


def test_a_pickle_checkpoint_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n")
    with pytest.raises(ModelFormatError, match="pickle checkpoints"):
        resolve_model(str(tmp_path))


def test_a_damaged_gguf_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"nonsense")
    with pytest.raises(ModelFormatError, match="not a GGUF file"):
        resolve_model(str(file))


def test_a_gguf_cut_short_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF\x03\x00\x00\x00" + b"\x00" * 4)
    with pytest.raises(ModelFormatError, match=r"model\.gguf: can't be read"):
        load_model(str(file), device="cpu")


def test_truncated_safetensors_are_refused_by_name(tmp_path: Path, llama_folder: Path) -> None:
    for file in llama_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelFormatError, match="can't be read"):
        load_model(str(tmp_path), device="cpu")


def test_a_folder_loads_with_the_same_weights(llama_folder: Path, llama) -> None:
    loaded = load_model(str(llama_folder), device="cpu")
    for (name, ours), (_, theirs) in zip(
        loaded.model.state_dict().items(), llama.model.state_dict().items(), strict=True
    ):
        assert ours.equal(theirs), name


def test_the_fingerprint_follows_weights_and_configuration(tmp_path: Path, llama_folder: Path) -> None:
    for file in llama_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    before = resolve_model(str(tmp_path)).fingerprint()["fingerprint"]
    assert before == resolve_model(str(llama_folder)).fingerprint()["fingerprint"]
    weights = bytearray((tmp_path / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(weights)
    changed = resolve_model(str(tmp_path)).fingerprint()["fingerprint"]
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-3}))
    changed_again = resolve_model(str(tmp_path)).fingerprint()["fingerprint"]
    assert len({before, changed, changed_again}) == 3


def test_the_fingerprint_covers_code_that_a_model_brings_along(tmp_path: Path, llama_folder: Path) -> None:
    for file in llama_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModelForCausalLM": "own.Model"}}))
    seen = set()
    for code in ("first", "second"):
        (tmp_path / "own.py").write_text(code)
        seen.add(resolve_model(str(tmp_path)).fingerprint()["fingerprint"])
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("config", "layers", "width"),
    [
        ({"model_type": "llama", "num_hidden_layers": 3, "intermediate_size": 48}, 3, 48),
        ({"model_type": "gpt2", "n_layer": 12, "n_embd": 768, "n_inner": None}, 12, 3072),
        ({"model_type": "opt", "num_hidden_layers": 2, "ffn_dim": 64, "hidden_size": 32}, 2, 64),
        ({"model_type": "falcon", "num_hidden_layers": 2, "hidden_size": 32}, 2, 128),
        ({"model_type": "gemma3", "text_config": {"num_hidden_layers": 4, "intermediate_size": 96}}, 4, 96),
        ({"model_type": "unheard_of", "hidden_size": 32}, None, None),
    ],
)
def test_sizes_are_known_before_loading(
    tmp_path: Path, config: dict[str, object], layers: int | None, width: int | None
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(b"not read")
    source = resolve_model(str(tmp_path))
    assert (source.kind, source.layers(), source.width()) == ("safetensors", layers, width)


@pytest.mark.parametrize(
    ("neuron", "message"), [((3, 0), "layer 3 is out of range; .* has 0 to 2"), ((0, 48), "neuron 48 is out of range")]
)
def test_a_neuron_out_of_range_is_refused_before_loading(
    llama_folder: Path, neuron: tuple[int, int], message: str
) -> None:
    source = resolve_model(str(llama_folder))
    source.check_neuron(NeuronId(2, 47))
    with pytest.raises(InputError, match=message):
        source.check_neuron(NeuronId(*neuron))


def test_an_encoder_decoder_is_refused_before_loading(tmp_path: Path) -> None:
    T5Config().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not read")
    with pytest.raises(ModelFormatError, match=r"an encoder-decoder model \(t5\); give a decoder-only"):
        resolve_model(str(tmp_path))


def test_a_folder_of_gguf_files_asks_for_one_of_them(tmp_path: Path) -> None:
    (tmp_path / "b.Q8_0.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelFormatError, match=r"name the file itself, such as .*b\.Q8_0\.gguf"):
        resolve_model(str(tmp_path))


@pytest.mark.parametrize("text", ["{", "[1]", ""])
def test_a_damaged_configuration_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    (tmp_path / "model.safetensors").write_bytes(b"not read")
    with pytest.raises(ModelFormatError, match=r"config\.json: (can't be read|expected an object)"):
        resolve_model(str(tmp_path))


def test_finding_a_model_needs_no_torch(llama_folder: Path) -> None:
    code = (
        "import sys; from cotlens.model.source import resolve_model; "
        f"source = resolve_model({str(llama_folder)!r}); source.fingerprint(); assert source.width() == 48; "
        "assert not {'torch', 'transformers'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
