"""What is known of a model's reading without its weights is what the loaded model does."""

import copy
import json
from pathlib import Path

import pytest
from tokenizers.processors import TemplateProcessing
from transformers import Phi3Config

from cotlens import LanguageModel, load_model
from cotlens.model.load import load_reader
from cotlens.model.reading import stated_context
from cotlens.model.source import ModelSource, resolve_model


def test_the_context_of_every_architecture_is_stated_by_its_configuration(
    any_lm: LanguageModel, tmp_path: Path
) -> None:
    any_lm.model.config.save_pretrained(tmp_path)
    assert stated_context(ModelSource("tiny", tmp_path)) == any_lm.context_length
    assert any_lm.context_length == (None if any_lm.name == "tiny-bloom" else 2048)


def test_long_context_phi_reads_its_original_length(tmp_path: Path) -> None:
    factors = {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
    config = Phi3Config(
        hidden_size=32, num_attention_heads=4, max_position_embeddings=256, original_max_position_embeddings=64,
        rope_parameters={"rope_type": "longrope", "rope_theta": 1e4, **factors},
    )  # fmt: skip
    config.save_pretrained(tmp_path)
    assert stated_context(ModelSource("new", tmp_path)) == 64
    old = {"max_position_embeddings": 256, "original_max_position_embeddings": 64, "rope_scaling": {"type": "su"}}
    (tmp_path / "config.json").write_text(json.dumps(old))
    assert stated_context(ModelSource("old", tmp_path)) == 64


@pytest.mark.parametrize("ends", [0, [7, 0], None])
def test_a_reader_encodes_as_the_loaded_model(
    llama: LanguageModel, tmp_path: Path, ends: int | list[int] | None
) -> None:
    """Its tokenizer closes every text with an end token, which is no part of a prompt."""
    tokenizer = copy.deepcopy(llama.tokenizer)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A <|end|>", special_tokens=[("<|end|>", 0)]
    )
    tokenizer.save_pretrained(tmp_path)
    llama.model.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "generation_config.json").read_text())
    (tmp_path / "generation_config.json").write_text(json.dumps(settings | {"eos_token_id": ends}))
    reader, lm = load_reader(resolve_model(str(tmp_path))), load_model(str(tmp_path), device="cpu")
    assert reader.stop_ids == lm.stop_ids
    assert reader.context_length == lm.context_length
    for text in ("A box holds 12 pens.", "A box<|end|>", ""):
        for special in (True, False):
            assert reader.encode(text, special) == lm.encode(text, special)
    assert reader.encode("A box") == llama.encode("A box")
