"""Whether two tools found the same neurons."""

from pathlib import Path

import numpy as np
import pytest
from benchmarks.agreement import compare_tops, same_texts

NEURON = np.array([[[3, 1], [4, 2]], [[0, 5], [7, 6]]], dtype=np.int32)
COEFFICIENT = np.array([[[3.0, -1.0], [4.0, 2.0]], [[-9.0, 5.0], [7.0, 6.0]]], dtype=np.float32)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    np.savez(tmp_path / "ours.npz", neuron=NEURON, coefficient=COEFFICIENT)
    return tmp_path / "ours.npz", tmp_path / "theirs.npz"


def test_the_order_within_the_top_does_not_matter(files: tuple[Path, Path]) -> None:
    np.savez(files[1], neuron=NEURON[..., ::-1], coefficient=COEFFICIENT[..., ::-1])
    found = compare_tops(*files)
    assert str(found) == "coefficients agree within 0e+00; same top-K at 4 of 4 steps and layers"


def test_a_coefficient_that_differs_is_told(files: tuple[Path, Path]) -> None:
    changed = COEFFICIENT.copy()
    changed[1, 0, 0] = 9.0  # the sign
    np.savez(files[1], neuron=NEURON, coefficient=changed)
    found = compare_tops(*files)
    assert not isinstance(found, str)
    assert not found.good
    assert str(found).startswith("COEFFICIENTS DIFFER within 2e+00")


def test_another_neuron_at_the_end_is_counted_and_the_others_compared(files: tuple[Path, Path]) -> None:
    neuron, coefficient = NEURON.copy(), COEFFICIENT.copy()
    neuron[0, 1, 1], coefficient[0, 1, 1] = 9, 100.0
    coefficient[0, 1, 0] *= 1.5
    np.savez(files[1], neuron=neuron, coefficient=coefficient)
    found = compare_tops(*files)
    assert not isinstance(found, str)
    assert found.same_sets == 3
    assert found.largest == pytest.approx(1 / 3)


def test_other_shapes_are_no_agreement(files: tuple[Path, Path]) -> None:
    np.savez(files[1], neuron=NEURON[:1], coefficient=COEFFICIENT[:1])
    assert str(compare_tops(*files)).startswith("SHAPES DIFFER")


def test_texts_are_compared_without_spaces_at_their_ends() -> None:
    assert same_texts(["a b", "c", "d"], [" a b", "c\n", "D"]) == "same text 2 of 3"
