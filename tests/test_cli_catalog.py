"""`cotlens models`: what is at hand, and what a model is, told in no time and without torch."""

import base64
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import MambaConfig, MixtralConfig, T5Config

from cotlens import cli
from cotlens.config import RunConfig

Cotlens = Callable[..., subprocess.CompletedProcess[str]]

CAUSAL = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 3, "intermediate_size": 48,
    "hidden_size": 32, "vocab_size": 400, "torch_dtype": "bfloat16",
}  # fmt: skip


@pytest.fixture
def cotlens(tmp_path: Path) -> Cotlens:
    """The command, with caches of this test alone and a closed port for a hub."""

    def cotlens(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        places = {"HF_HUB_CACHE": str(tmp_path / "hub"), "COTLENS_CACHE": str(tmp_path / "own")}
        return subprocess.run(
            [sys.executable, "-m", "cotlens.cli", *map(str, words)],
            env=os.environ | places | {"HF_ENDPOINT": "http://127.0.0.1:9", "COLUMNS": "160"} | environment,
            capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60,
        )  # fmt: skip

    return cotlens


@pytest.fixture
def put_in_cache(tmp_path: Path) -> Callable[..., Path]:
    def put(name: str, **files: bytes) -> Path:
        repository = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
        snapshot = repository / "snapshots" / ("0" * 40)
        snapshot.mkdir(parents=True)
        (repository / "refs").mkdir()
        (repository / "refs/main").write_text("0" * 40)
        (repository / "blobs").mkdir()
        for file, content in files.items():
            blob = repository / "blobs" / file
            blob.write_bytes(content)
            (snapshot / file.replace("__", ".")).symlink_to(blob)
        return snapshot

    return put


def write_meta(folder: Path) -> Path:
    folder.mkdir()
    (folder / "params.json").write_text(json.dumps({"dim": 32, "n_layers": 2, "n_heads": 4, "multiple_of": 16}))
    (folder / "consolidated.00.pth").write_bytes(b"x" * 1000)
    (folder / "consolidated.01.pth").write_bytes(b"x" * 1000)
    (folder / "tokenizer.model").write_bytes(base64.b64encode(b"!") + b" 0\n")
    return folder


def test_models_at_hand_are_listed(cotlens: Cotlens, put_in_cache: Callable[..., Path]) -> None:
    put_in_cache("owner/whole", config__json=json.dumps(CAUSAL).encode(), model__safetensors=b"x" * 5_000_000)
    own_code = CAUSAL | {"auto_map": {"AutoModelForCausalLM": "own.Model"}}
    put_in_cache("owner/part", config__json=json.dumps(own_code).encode())
    put_in_cache("owner/t5", config__json=json.dumps(CAUSAL | {"is_encoder_decoder": True}).encode())
    put_in_cache("owner/experts", config__json=json.dumps(CAUSAL | {"num_local_experts": 8}).encode())
    put_in_cache("owner/bert", config__json=json.dumps(CAUSAL | {"architectures": ["BertModel"]}).encode())
    put_in_cache("owner/damaged", config__json=b"{")
    put_in_cache("owner/meta", params__json=b'{"dim": 32, "n_layers": 2, "n_heads": 4}')
    done = cotlens("models", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [row["name"] for row in found["cached"]] == ["owner/experts", "owner/meta", "owner/part", "owner/whole"]
    assert found["cached"][0]["refused"].startswith("a mixture of 8 experts")
    assert {row["refused"] for row in found["cached"][1:]} == {None}
    whole = found["cached"][3]
    assert (whole["layers"], whole["width"], whole["dtype"], whole["complete"]) == (3, 48, "bfloat16", True)
    assert whole["size_bytes"] > 5_000_000
    assert [row["complete"] for row in found["cached"][:3]] == [False, False, False]
    [embedded] = found["embedded"]
    assert (embedded["name"], embedded["converted"]) == ("smollm2-135m", None)
    text = cotlens("models").stdout
    assert re.search(r"owner/whole +LlamaForCausalLM +3 +48 +bfloat16 +5 MB", text)
    assert "fetched in part, brings code" in text
    assert "fetched in part, not supported" in text
    assert "consolidated.*.pth" in text


def test_an_empty_cache_is_no_error(cotlens: Cotlens) -> None:
    done = cotlens("models")
    assert done.returncode == 0, done.stderr
    assert "No language model in the hub's cache." in done.stdout
    assert "its first use converts it" in done.stdout


def test_the_list_comes_soon_and_without_torch(cotlens: Cotlens, tmp_path: Path) -> None:
    started = time.monotonic()
    done = cotlens("models", PYTHONPROFILEIMPORTTIME="1")
    assert time.monotonic() - started < 3
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "huggingface_hub" in imported
    assert not imported & {"torch", "transformers", "gguf"}


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (
            lambda llama_folder, tmp_path: llama_folder,
            {
                "kind": "Hugging Face checkpoint", "architecture": "LlamaForCausalLM", "layers": 3, "width": 48,
                "neurons": 144, "d_model": 32, "vocabulary": 400, "weight_files": 1, "tokenizer": True,
                "chat_template": False, "own_code": [],
            },
        ),
        (
            lambda llama_folder, tmp_path: write_meta(tmp_path / "meta"),
            {
                "kind": "Meta checkpoint", "architecture": "LlamaForCausalLM", "layers": 2, "width": 96, "neurons": 192,
                "vocabulary": None, "size_bytes": 2000, "weight_files": 2, "tokenizer": True,
            },
        ),
        (
            lambda llama_folder, tmp_path: "smollm2-135m",
            {
                "kind": "embedded", "layers": 30, "width": 1536, "neurons": 46080, "d_model": 576, "vocabulary": 49152,
                "dtype": "Q4_1", "chat_template": True, "tokenizer": True,
            },
        ),
    ],
    ids=["folder", "meta", "embedded"],
)  # fmt: skip
def test_a_model_is_described_without_its_weights(
    cotlens: Cotlens, llama_folder: Path, tmp_path: Path, make, expected: dict[str, object]
) -> None:
    name = make(llama_folder, tmp_path)
    done = cotlens("models", name, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {key: found[key] for key in expected} == expected
    assert found["size_bytes"] > 0
    assert not (tmp_path / "own").exists()  # nothing was converted
    text = cotlens("models", name).stdout
    assert f"{found['layers']} x {found['width']:,} = {found['neurons']:,} (layers x neurons per layer)" in text


def test_code_and_quantisation_are_told_and_nothing_runs(cotlens: Cotlens, tmp_path: Path) -> None:
    extra = {"auto_map": {"AutoModelForCausalLM": "own.Model"}, "quantization_config": {"quant_method": "gptq"}}
    (tmp_path / "config.json").write_text(json.dumps(CAUSAL | extra))
    (tmp_path / "model.safetensors").write_bytes(b"x" * 2_000)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    text = cotlens("models", tmp_path).stdout
    assert "AutoModelForCausalLM; nothing of it runs without --trust-remote-code" in text
    assert "gptq" in text
    assert "2 kB in 1 file" in text
    assert " ".join(text.split()).endswith(
        "tokenizer yes chat template yes quantised by gptq own code AutoModelForCausalLM; nothing of it runs without "
        "--trust-remote-code"
    )
    assert not (tmp_path / "ran").exists()


def test_a_model_in_the_cache_is_described_without_the_hub(cotlens: Cotlens, put_in_cache: Callable[..., Path]) -> None:
    put_in_cache("owner/part", config__json=json.dumps(CAUSAL).encode())
    done = cotlens("models", "owner/part")
    assert done.returncode == 0, done.stderr
    assert "not fetched yet" in done.stdout


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("owner/nothing", "not in the local cache, and the hub can't be reached"),
        ("smollm2", "did you mean 'smollm2-135m'?"),
        ("./nowhere", "no such file or folder"),
        ("{t5}", "an encoder-decoder model"),
        ("{mixtral}", "a mixture of 8 experts"),
        ("{mamba}", "a model with a recurrent state"),
    ],
)
@pytest.mark.parametrize("verb", ["models", "neuron", "run"])
def test_a_model_that_is_of_no_use_is_told_in_one_line_and_soon(
    cotlens: Cotlens, tmp_path: Path, name: str, message: str, verb: str
) -> None:
    folders = {config.model_type: tmp_path / config.model_type for config in (T5Config, MixtralConfig, MambaConfig)}
    for config in (T5Config, MixtralConfig, MambaConfig):
        config().save_pretrained(folders[config.model_type])
        (folders[config.model_type] / "model.safetensors").write_bytes(b"not read")
    name = name.format(**folders)
    (tmp_path / "run.yaml").write_text(f"model:\n  name: {name}\n")
    started = time.monotonic()
    done = cotlens(verb, *{"models": (name,), "neuron": (name, "L0N0"), "run": ("run.yaml",)}[verb])
    assert time.monotonic() - started < 5
    assert (done.returncode, done.stdout) == (3, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_flag_for_remote_code_becomes_a_recorded_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[RunConfig] = []
    monkeypatch.setattr(cli, "_run", lambda config, *_: runs.append(config))
    (tmp_path / "run.yaml").write_text("seed: 3\n")
    for flag in ([], ["--trust-remote-code"]):
        cli.app(["run", str(tmp_path / "run.yaml"), *flag], standalone_mode=False)
    assert [config.model.trust_remote_code for config in runs] == [False, True]
