import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cotlens.errors import ModelFormatError, ModelNotFoundError
from cotlens.model.load import load_model
from cotlens.model.source import resolve_model


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


def test_a_hub_model_without_network_says_what_to_do() -> None:
    # In a process of its own: the hub library reads the setting when it is imported.
    code = (
        "import cotlens\ntry: cotlens.load_model('owner/name')\nexcept cotlens.CotlensError as e: print(e.exit_code, e)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("3 owner/name: not in the local cache")


def test_a_folder_without_config_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match=r"no config\.json"):
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


def test_remote_code_is_not_run_unless_asked(tmp_path: Path, llama_folder: Path) -> None:
    for file in llama_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    with pytest.raises(ModelFormatError):
        load_model(str(tmp_path), device="cpu")
    assert not (tmp_path / "ran").exists()
