import math

import polars as pl
import pytest

from cotlens.analyze import intervention_effects


def rows(name: str, draws: list[list[bool]]) -> list[tuple[str, int, str, str, bool]]:
    return [
        (name, draw, f"q{place}", "1", correct)
        for draw, answers in enumerate(draws)
        for place, correct in enumerate(answers)
    ]


def frame(*parts: list[tuple[str, int, str, str, bool]]) -> pl.DataFrame:
    return pl.DataFrame(
        [row for part in parts for row in part],
        schema=["set", "draw", "question_id", "answer", "correct"],
        orient="row",
    )


def test_effects_and_p_value_are_those_worked_out_by_hand() -> None:
    table = frame(
        rows("none", [[True, True, False, True]]),
        rows("reasoning", [[False] * 4, [True, False, False, False]]),
        rows("random", [[True, True, False, False], [False] * 4, [True, True, True, False]]),
    )
    effects, p_value = intervention_effects(table, 0.95)
    none, reasoning, random = effects
    assert none.accuracy == 0.75
    assert (none.low, none.high) == pytest.approx((0.3006, 0.9544), abs=1e-4)
    assert reasoning.by_draw == (0.0, 0.25)
    assert (reasoning.accuracy, reasoning.low, reasoning.high) == (0.125, 0.0, 0.25)
    assert random.by_draw == (0.5, 0.0, 0.75)
    assert p_value == pytest.approx((1 + 1) / (1 + 3))


def test_without_controls_there_is_no_p_value() -> None:
    effects, p_value = intervention_effects(frame(rows("none", [[True]]), rows("reasoning", [[False]])), 0.95)
    assert [effect.set for effect in effects] == ["none", "reasoning"]
    assert math.isnan(p_value)
