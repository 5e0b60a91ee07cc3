"""GGUF files, written here from the tiny Llama with the package that defines the format."""

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from cotlens import load_model
from cotlens.errors import ModelFormatError
from cotlens.model.facts import gguf_facts
from cotlens.model.gguf_header import read_gguf_header
from cotlens.model.load import load_reader
from cotlens.model.reading import stated_context
from cotlens.model.source import resolve_model

NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, llama) -> Path:
    """The tiny Llama in fp32."""
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    config = llama.model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(0)
    bpe = json.loads(llama.tokenizer.backend_tokenizer.to_str())["model"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(sorted(bpe["vocab"], key=bpe["vocab"].get))
    writer.add_token_types([3] + [1] * (len(bpe["vocab"]) - 1))
    writer.add_token_merges([" ".join(merge) for merge in bpe["merges"]])
    writer.add_eos_token_id(0)
    for name, tensor in llama.model.state_dict().items():
        writer.add_tensor(gguf_name(name), stored(name, tensor.numpy(), config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def gguf_name(name: str) -> str:
    whole = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    stem = name.removesuffix(".weight")
    if stem in whole:
        return f"{whole[stem]}.weight"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{NAMES[part]}.weight"


def stored(name: str, weight: np.ndarray, config) -> np.ndarray:
    """The format keeps a head's rows in pairs that rotary embeddings turn together."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2])
    if heads is None:
        return weight
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape).copy()


def test_no_bit_of_a_weight_changes(file: Path, llama) -> None:
    loaded = load_model(str(file), device="cpu")
    expected = llama.model.state_dict()
    assert loaded.model.state_dict().keys() == expected.keys()
    for name, tensor in loaded.model.state_dict().items():
        assert tensor.equal(expected[name]), name
    reader = load_reader(resolve_model(str(file)))
    assert (reader.stop_ids, reader.context_length) == (loaded.stop_ids, loaded.context_length)
    ids = torch.tensor([llama.encode("A box holds 12 pens.")])
    assert loaded.encode("A box holds 12 pens.") == ids[0].tolist()
    with torch.inference_mode():
        assert loaded.model(ids).logits.equal(llama.model(ids).logits)


@pytest.mark.parametrize("device", ["cpu", "sharded"])
def test_the_dtype_is_the_one_asked_for(file: Path, device: str) -> None:
    assert load_model(str(file), device=device, dtype="bfloat16").dtype == torch.bfloat16


def test_sizes_are_known_from_the_head_alone(file: Path, tmp_path: Path, llama) -> None:
    header = read_gguf_header(file)
    reader = gguf.GGUFReader(file)
    plain = [key for key, field in reader.fields.items() if len(field.types) == 1 and not key.startswith("GGUF.")]
    assert {key: header[key] for key in plain} == {key: reader.fields[key].contents() for key in plain}
    assert header["tokenizer.ggml.tokens"] == len(llama.tokenizer)
    (tmp_path / "head.gguf").write_bytes(file.read_bytes()[: reader.data_offset])
    source = resolve_model(str(tmp_path / "head.gguf"))
    assert (source.kind, source.layers(), source.width()) == ("gguf", 3, 48)
    assert stated_context(source) == llama.context_length
    facts = gguf_facts(file)
    assert (facts.architecture, facts.d_model, facts.vocabulary, facts.dtype) == ("llama", 32, 400, "F32")


@pytest.mark.parametrize("length", [0, 3, 11, 30, 200, 3000])
def test_a_head_that_is_cut_short_is_named(file: Path, tmp_path: Path, length: int) -> None:
    (tmp_path / "cut.gguf").write_bytes(file.read_bytes()[:length])
    with pytest.raises(ModelFormatError, match=r"cut\.gguf: not a GGUF file, or damaged"):
        read_gguf_header(tmp_path / "cut.gguf")


def test_lengths_beyond_the_file_are_refused_at_once(tmp_path: Path) -> None:
    head = b"GGUF" + (3).to_bytes(4, "little") + bytes(8)
    huge = (2**62).to_bytes(8, "little")
    (tmp_path / "long.gguf").write_bytes(head + (1).to_bytes(8, "little") + huge + b"name")
    (tmp_path / "many.gguf").write_bytes(head + huge + bytes(100))
    for name in ("long.gguf", "many.gguf"):
        with pytest.raises(ModelFormatError, match="damaged"):
            read_gguf_header(tmp_path / name)
