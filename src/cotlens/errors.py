"""Every error that cotlens raises on purpose, and the exit code that the command line gives it.

::

    CotlensError
    ├── InputError                 2   the user can mend it: a flag, a file, a row
    │   ├── ConfigError                a run configuration, or an override of it
    │   ├── DataError                  a problem file, a concept file, a prompt file
    │   ├── RunMismatchError           a run directory that holds another run
    │   └── RunLockedError             a run directory that another process writes
    ├── EnvironmentFault           3   the machine can't do it: memory, disk, a missing package
    │   ├── ModelNotFoundError         no such model here or on the hub
    │   ├── ModelFormatError           files that are damaged, or an architecture that is not known
    │   ├── MissingExtraError          an optional package that this step needs
    │   └── NonFiniteError             NaN or infinity in a model's activations
    ├── JudgeStoppedError          4   budget, quota or credentials; the run can be resumed
    ├── ItemsFailedError           5   finished, but some items have no result
    └── InterruptedRunError  130/143   Ctrl-C or a termination signal; the run can be resumed

A message names the file, flag or row, gives the value, says what was expected, and how to mend it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "ConfigError",
    "CotlensError",
    "DataError",
    "EnvironmentFault",
    "InputError",
    "InterruptedRunError",
    "ItemsFailedError",
    "JudgeStoppedError",
    "MissingExtraError",
    "ModelFormatError",
    "ModelNotFoundError",
    "NonFiniteError",
    "RunLockedError",
    "RunMismatchError",
    "near_match",
]


class CotlensError(Exception):
    """Base of all errors raised on purpose."""

    exit_code = 1


class InputError(CotlensError):
    """Something the user gave is not valid."""

    exit_code = 2


class ConfigError(InputError):
    """A run configuration is not valid; the message lists every mistake at once."""


class DataError(InputError):
    """A data file is not valid; the message names file and line."""


class RunMismatchError(InputError):
    """The run directory was made with another configuration, model or prompt."""


class RunLockedError(InputError):
    """Another process is writing to the run directory."""


class EnvironmentFault(CotlensError):  # noqa: N818 (EnvironmentError is a builtin)
    """The machine can't do what was asked."""

    exit_code = 3


class ModelNotFoundError(EnvironmentFault):
    """No model of that name, here or on the hub."""


class ModelFormatError(EnvironmentFault):
    """The model's files can't be read, or its architecture is not known."""


class MissingExtraError(EnvironmentFault):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; install it with: pip install 'cotlens[{extra}]'")


class NonFiniteError(EnvironmentFault):
    """A model produced NaN or infinity."""


class JudgeStoppedError(CotlensError):
    """The judge can't go on: budget, quota or credentials."""

    exit_code = 4


class ItemsFailedError(CotlensError):
    """All stages ended, and some items failed."""

    exit_code = 5


class InterruptedRunError(CotlensError):
    """A signal ended the run. ``exit_code`` is 128 plus the signal's number."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


def near_match(word: str, known: Iterable[str]) -> str:
    """A hint such as ``; did you mean 'cot'?``, or the list of what is known."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(names)}"
