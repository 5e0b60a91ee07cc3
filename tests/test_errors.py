import inspect
import re
import signal

import pytest

from cotlens import errors
from cotlens.errors import (
    ConfigError,
    CotlensError,
    DataError,
    EnvironmentFault,
    InputError,
    InterruptedRunError,
    ItemsFailedError,
    JudgeStoppedError,
    MissingExtraError,
    ModelFormatError,
    ModelNotFoundError,
    NonFiniteError,
    RunLockedError,
    RunMismatchError,
    near_match,
)

CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if inspect.isclass(value) and issubclass(value, BaseException) and value.__module__ == errors.__name__
}


def _drawn_tree() -> dict[str, tuple[str | None, str]]:
    """Class name to the name of its base and the exit code beside it, as the module's docstring draws them."""
    drawn: dict[str, tuple[str | None, str]] = {}
    path: list[str] = []
    for line in errors.__doc__.splitlines():
        match = re.fullmatch(r"    (?P<branch>[│├└─ ]*)(?P<name>\w+)(?: +(?P<code>[\d/]+)(?= ))?.*", line)
        if match:
            depth = len(match["branch"]) // 4
            path = [*path[:depth], match["name"]]
            drawn[match["name"]] = (path[depth - 1] if depth else None, match["code"] or "")
    return drawn


def test_the_tree_in_the_docstring_shows_every_class_under_its_real_base():
    drawn = {name: base for name, (base, _) in _drawn_tree().items()}
    real = {name: None if cls is CotlensError else cls.__base__.__name__ for name, cls in CLASSES.items()}
    assert drawn == real


def test_the_exit_codes_in_the_docstring_are_the_real_ones():
    codes = {name: code for name, (_, code) in _drawn_tree().items() if code}
    assert codes.pop("InterruptedRunError") == "130/143"
    assert codes == {name: str(CLASSES[name].exit_code) for name in codes}
    assert set(codes) == {"InputError", "EnvironmentFault", "JudgeStoppedError", "ItemsFailedError"}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CotlensError(), 1),
        (InputError(), 2),
        (ConfigError(), 2),
        (DataError(), 2),
        (RunMismatchError(), 2),
        (RunLockedError(), 2),
        (EnvironmentFault(), 3),
        (ModelNotFoundError(), 3),
        (ModelFormatError(), 3),
        (MissingExtraError("fastapi", "explorer"), 3),
        (NonFiniteError(), 3),
        (JudgeStoppedError(), 4),
        (ItemsFailedError(), 5),
        (InterruptedRunError("stopped", signal.SIGINT), 130),
        (InterruptedRunError("stopped", signal.SIGTERM), 143),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_exit_codes(error, code):
    assert error.exit_code == code


def test_the_exit_code_of_one_interruption_is_not_that_of_the_next():
    first = InterruptedRunError("stopped", signal.SIGTERM)
    InterruptedRunError("stopped", signal.SIGINT)
    assert first.exit_code == 143


def test_every_class_is_public_and_documented():
    assert set(CLASSES) | {"near_match"} == set(errors.__all__)
    assert all(cls.__doc__ for cls in CLASSES.values())


def test_a_missing_extra_is_named_with_the_command_that_installs_it():
    assert str(MissingExtraError("fastapi", "explorer")) == (
        "fastapi is not installed; install it with: pip install 'cotlens[explorer]'"
    )


def test_an_interruption_keeps_its_message():
    assert str(InterruptedRunError("stopped; go on with: cotlens run", signal.SIGINT)) == (
        "stopped; go on with: cotlens run"
    )


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("co", "; did you mean 'cot'?"),
        ("cots", "; did you mean 'cot'?"),
        ("textonly", "; did you mean 'text_only'?"),
        ("zzz", "; known: cot, equation_only, text_only"),
        ("", "; known: cot, equation_only, text_only"),
    ],
)
def test_near_match_hints_at_the_nearest_name_or_lists_all_in_order(word, hint):
    assert near_match(word, ["text_only", "cot", "equation_only"]) == hint


def test_near_match_takes_any_iterable():
    assert near_match("cots", iter({"cot": 1})) == "; did you mean 'cot'?"
