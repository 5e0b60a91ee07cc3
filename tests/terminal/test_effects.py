"""The table of interventions in the terminal."""

from typing import Any

from rich.console import Console, RenderableType
from tests.report.effect_tables import effect, uncontrolled

from cotlens.terminal.effects import effect_table


def _drawn(content: RenderableType) -> list[str]:
    console = Console(width=160, color_system=None)
    with console.capture() as captured:
        console.print(content)
    return captured.get().splitlines()


def _line(lines: list[str], *starts: str) -> list[str]:
    return next(line.split() for line in lines if line.split()[: len(starts)] == list(starts))


def test_every_edit_stands_beside_its_random_sets() -> None:
    perplexity: dict[str, Any] = effect(measure="perplexity", untouched=20.0, value=25.0)
    questions = effect(measure="questions", untouched=0.5, value=0.48)
    lines = _drawn(effect_table([effect(), perplexity, questions, effect(scope="rest", kind="zero")]))
    assert _line(lines, "untouched") == ["untouched", "60.0%"]
    assert _line(lines, "reasoning", "noise") == [
        "reasoning", "noise", "1", "20.0%", "10.0–30.0%", "55.0%", "50.0–60.0%", "0.048", "0.048", "-2.0", "×1.25",
    ]  # fmt: skip
    assert _line(lines, "all", "but", "reasoning")[3:5] == ["zero", "20.0%"]
    assert "With 20 random sets p can't fall below 0.048; q: corrected for the number of sets." in " ".join(lines)


def test_without_random_sets_there_are_no_tests() -> None:
    lines = _drawn(effect_table([uncontrolled()]))
    assert _line(lines, "reasoning")[-1] == "none"
    assert "can't fall below" not in " ".join(lines)


def test_nothing_edited_is_said() -> None:
    assert _drawn(effect_table([])) == ["Interventions: no set was edited"]


def test_hostile_names_stay_texts() -> None:
    evil = "list:/a/[bold]\x1b[31m\u202e"
    text = "\n".join(_drawn(effect_table([effect(target=evil)])))
    assert "[bold]\\x1b[31m\\u202e" in text
    assert "\x1b" not in text
