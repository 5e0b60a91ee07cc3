"""The bounds, against sums done by hand."""

import json
from pathlib import Path

import pytest
from benchmarks.floors import Bare, Decoder, generation_floor, reading_floor

#: 2 layers; per layer 4*8 + 2*4*4 + 8*4 = 96 weights of attention and 3*4*6 = 72 of the feed-forward block.
DECODER = Decoder(layers=2, d_model=4, d_ff=6, heads=4, kv_heads=2, head_dim=2, vocabulary=10)


def test_weights_are_those_of_the_matrices() -> None:
    assert DECODER.weights == 2 * (4 * 8 + 2 * 4 * 4 + 8 * 4 + 3 * 4 * 6)
    assert DECODER.head_weights == 40
    assert DECODER.token_flop(context=5) == 2 * DECODER.weights + 2 * 2 * 2 * 8 * 5


def test_sizes_come_from_the_checkpoint(llama_folder: Path) -> None:
    found = Decoder.read(llama_folder)
    config = json.loads((llama_folder / "config.json").read_text())
    assert (found.layers, found.d_ff, found.kv_heads) == (3, 48, 2)
    assert found.head_dim * found.heads == config["hidden_size"]


def test_reading_costs_the_prefix_once_and_each_suffix() -> None:
    bare = Bare(gflops=1e-9, copy_gb_s=1)  # one operation a second
    expected = 10 * DECODER.token_flop(5) + 4 * DECODER.token_flop(12) + 2 * DECODER.token_flop(11)
    assert reading_floor(DECODER, bare, 10, [4, 2]) == pytest.approx(expected)


def test_a_step_costs_its_multiplications_or_its_weights() -> None:
    head, one = 2 * DECODER.head_weights, DECODER.token_flop
    steps = (one(14) + one(12) + 2 * head) + (one(15) + head)  # the second row ends after one token
    slow_product = Bare(gflops=1e-9, copy_gb_s=1e9)
    read = reading_floor(DECODER, slow_product, 10, [4, 2])
    assert generation_floor(DECODER, slow_product, 10, [4, 2], [2, 1]) == pytest.approx(read + steps)
    slow_memory = Bare(gflops=1e9, copy_gb_s=1e-9)  # one byte a second
    weights = 4 * (DECODER.weights + DECODER.head_weights)
    assert generation_floor(DECODER, slow_memory, 10, [4, 2], [2, 1]) == pytest.approx(2 * weights)
