"""The bounds, against sums done by hand."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.floors import (
    Bare,
    Decoder,
    decoding_floor,
    generation_floor,
    memory_floor_mib,
    prefix_floor,
    reading_floor,
    suffix_floor,
)

#: 2 layers; per layer 4*8 + 2*4*4 + 8*4 = 96 weights of attention and 3*4*6 = 72 of the feed-forward block.
DECODER = Decoder(layers=2, d_model=4, d_ff=6, heads=4, kv_heads=2, head_dim=2, vocabulary=10, tied=True)


def test_weights_are_those_of_the_matrices() -> None:
    assert DECODER.weights == 2 * (4 * 8 + 2 * 4 * 4 + 8 * 4 + 3 * 4 * 6)
    assert DECODER.head_weights == 40
    assert DECODER.token_flop(context=5) == 2 * DECODER.weights + 2 * 2 * 2 * 8 * 5


def test_sizes_come_from_the_checkpoint(llama_folder: Path) -> None:
    found = Decoder.read(llama_folder)
    config = json.loads((llama_folder / "config.json").read_text())
    assert (found.layers, found.d_ff, found.kv_heads) == (3, 48, 2)
    assert found.head_dim * found.heads == config["hidden_size"]
    assert found.tied is config["tie_word_embeddings"]


def test_reading_costs_the_prefix_once_and_each_suffix() -> None:
    bare = Bare(gflops=1e-9, copy_gb_s=1)  # one operation a second
    expected = 10 * DECODER.token_flop(5) + 4 * DECODER.token_flop(12) + 2 * DECODER.token_flop(11)
    assert reading_floor(DECODER, bare, 10, [4, 2]) == pytest.approx(expected)


def test_a_step_costs_its_multiplications_or_its_weights() -> None:
    head, one = 2 * DECODER.head_weights, DECODER.token_flop
    # Of three and two tokens the first comes with the reading, and the last is not read.
    steps = (one(15) + one(13) + 2 * head) + (one(16) + head)
    slow_product = Bare(gflops=1e-9, copy_gb_s=1e9)
    assert decoding_floor(DECODER, slow_product, 10, [4, 2], [3, 2]) == pytest.approx(steps)
    slow_memory = Bare(gflops=1e9, copy_gb_s=1e-9)  # one byte a second
    weights = 4 * (DECODER.weights + DECODER.head_weights)
    assert decoding_floor(DECODER, slow_memory, 10, [4, 2], [3, 2]) == pytest.approx(2 * weights)
    assert decoding_floor(DECODER, slow_memory, 10, [4], [1]) == 0


def test_generation_is_the_prefix_the_questions_with_their_first_token_and_the_steps() -> None:
    bare = Bare(gflops=1e-9, copy_gb_s=1e9)
    questions = suffix_floor(DECODER, bare, 10, [4, 2], logits=True)
    assert questions == pytest.approx(suffix_floor(DECODER, bare, 10, [4, 2]) + 2 * 2 * DECODER.head_weights)
    whole = prefix_floor(DECODER, bare, 10) + questions + decoding_floor(DECODER, bare, 10, [4, 2], [3, 2])
    assert generation_floor(DECODER, bare, 10, [4, 2], [3, 2]) == pytest.approx(whole)


def test_memory_holds_the_weights_and_the_prefix_once() -> None:
    states = 2 * 2 * 10 * 2 * 2  # keys and values, layers, tokens, heads, width
    assert memory_floor_mib(DECODER, 10) * 2**20 == 4 * (DECODER.weights + 40 + states)
    assert memory_floor_mib(replace(DECODER, tied=False), 10) * 2**20 == 4 * (DECODER.weights + 2 * 40 + states)
