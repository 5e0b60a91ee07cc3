"""A whole run on a model whose unembedding is wider than its tokenizer, and whose texts split characters over tokens.

The tiny Llama says one cycle of tokens for ever: the four bytes of a smiley, an id that the tokenizer has no text for,
and a digit. Its completions end within a character, and so does the question of one problem.
"""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from cotlens import LanguageModel, RunConfig, load_model, top_neurons
from cotlens.pipeline import STAGES, run_pipeline
from cotlens.store import Run

VOCABULARY = 437
BEYOND = 430
NEW_TOKENS = 8
PROBLEMS = (
    {"id": "smile", "question": "Zoë draws 3 🙂 and 4 🙂🙂. How many does she draw?", "answer": 7},
    {"id": "plain", "question": "How many are 2 and 3?", "answer": 5},
)


def cycle(lm: LanguageModel) -> list[int]:
    return [*lm.encode("🙂"), BEYOND, *lm.encode("7")]


def teach(model: LlamaForCausalLM, said: list[int]) -> None:
    """Let every token of ``said`` lead to the next, and every other token to the first."""
    size = model.config.hidden_size
    begin, *own = torch.linalg.qr(torch.randn(size, len(said) + 1)).Q.T
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.normal_(0, 0.02)
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    embedding += 4 * begin
    head[said[0]] += begin
    for token, following, direction in zip(said, [*said[1:], said[0]], own, strict=True):
        embedding[token] = 4 * direction
        head[following] += direction


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerFast) -> Path:
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, **sizes, bos_token_id=None, eos_token_id=0))
    with torch.no_grad():
        teach(model, cycle(LanguageModel(model, tokenizer)))
    folder = tmp_path_factory.mktemp("models") / "wide"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def lm(folder: Path) -> LanguageModel:
    return load_model(str(folder), device="cpu")


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    scratch = tmp_path_factory.mktemp("wide")
    (scratch / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PROBLEMS))
    letters = {"id": "letters", "name": "letters", "seeds": list("aeioustr"), "words": ["n"], "question": "Letters?"}
    (scratch / "concepts.yaml").write_text(json.dumps([letters]))
    config = {
        "model": {"name": str(folder), "device": "cpu"},
        "problems": {
            "source": str(scratch / "problems.jsonl"),
            "fields": {"question": "question", "answer": "answer", "id": "id"},
        },
        "prompt": {"variants": ["cot", "text_only"], "shots": 1},
        "generate": {"max_new_tokens": NEW_TOKENS},
        "discover": {"top_k": 5},
        "project": {"top_n": 40},
        "label": {"concepts": str(scratch / "concepts.yaml"), "min_layer": 0},
        "analyze": {"bootstrap": 20, "control_draws": 2},
        "intervene": {"draws": 1, "control_draws": 1},
    }
    return run_pipeline(RunConfig.model_validate(config), scratch / "run")


def test_every_stage_ends_and_raw_ids_are_stored(run: Run, lm: LanguageModel) -> None:
    assert {name: record.status for name, record in run.manifest.stages.items()} == dict.fromkeys(STAGES, "done")
    assert (run.path / "report.html").stat().st_size > 0
    assert len(lm.tokenizer) <= BEYOND < VOCABULARY == len(lm.unembedding)
    said = [cycle(lm)[step % 6] for step in range(NEW_TOKENS)]
    assert run.completions().height == 4
    for row in run.completions().iter_rows(named=True):
        prompt, written = row["token_ids"][: row["prompt_length"]], row["token_ids"][row["prompt_length"] :]
        assert written == said
        assert row["text"] == lm.decode(said)
        assert row["text"].startswith("🙂7")
        assert row["question"] in lm.decode(prompt)
        assert row["correct_flexible"] == (row["question_id"] == "smile"), "7 is the last number"


def test_activations_are_those_of_each_text_alone(run: Run, lm: LanguageModel) -> None:
    for row in run.completions().iter_rows(named=True):
        found = run.activations().filter(variant=row["variant"], question_id=row["question_id"]).sort("step", "layer")
        assert found["token_id"].gather_every(lm.n_layers).to_list() == row["token_ids"][row["prompt_length"] :]
        expected = top_neurons(lm, row["token_ids"], row["prompt_length"], top_k=5)
        np.testing.assert_array_equal(np.array(found["neuron"].to_list()), expected.neuron.reshape(-1, 5))
        coefficients = np.array(found["coefficient"].to_list())
        np.testing.assert_allclose(coefficients, expected.coefficient.reshape(-1, 5), rtol=1e-3, atol=1e-6)


def test_tokens_of_one_character_share_it_and_one_without_text_is_empty(run: Run, lm: LanguageModel) -> None:
    for row in run.completions().iter_rows(named=True):
        named = {"variant": row["variant"], "question_id": row["question_id"], "part": "completion"}
        tokens = run.tokens().filter(**named).sort("position")
        assert tokens["token_id"].to_list() == row["token_ids"][row["prompt_length"] :]
        assert "".join(tokens["text"]) == row["text"]
        assert sum(tokens["text"].head(4) == "🙂") == 1
        assert tokens["text"][4] == ""


def test_a_token_without_text_is_shown_by_its_id(run: Run) -> None:
    shown = run.neurons().select("promoted_ids", "promoted").explode("promoted_ids", "promoted")
    beyond = shown.filter(pl.col("promoted_ids") >= 400)
    assert not beyond.is_empty()
    assert beyond["promoted"].to_list() == [f"<{i}>" for i in beyond["promoted_ids"]]
