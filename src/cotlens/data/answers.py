"""Reading the answer from a completion, and grading it.

*Strict*: the number that follows the first "the answer is". *Flexible*: the strict answer if there is one,
else the last number in the text. Only text before an invented next ``Question:`` counts. Numbers are compared
as numbers.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Literal

from cotlens.errors import InputError, near_match

__all__ = ["decimal_text", "extract_answer", "is_correct", "parse_number"]

#: A number of more digits is no answer to a word problem, and arithmetic on it could be made to hang.
_MOST_DIGITS = 30

# With a capital anywhere, even glued to the answer; in lower case at the start of a line only: "to answer the
# question:" is part of a solution.
_NEXT_QUESTION = re.compile(r"Question\s*:|^[ \t]*(?i:question|q)[ \t]*:", re.MULTILINE)
_CUE = re.compile(r"\bthe\s+answer\s+is\b", re.IGNORECASE)

# A minus sign belongs to the number unless it follows an operand: "10-4" and "10 - 4" end in a 4.
_SIGN = r"(?<![\w.)\]%])(?:(?<![\d)\]%]\s)[-−–]\s?)?"
_CURRENCY = r"(?:(?:[$€£¥₹]|US\$|\\\$)\s?(?P<inner_sign>[-−–])?)?"
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
_NUMBER = re.compile(
    rf"(?P<sign>{_SIGN}){_CURRENCY}"
    rf"(?P<number>{_DIGITS}(?:\.\d+)?|\.\d+)(?P<exponent>[eE][+-]?\d+(?![\w]))?"
    rf"(?:(?P<mixed>\s\d+\s?/\s?\d+)|(?P<denominator>\s?/\s?\d+(?:\.\d+)?))?(?![\d])"
)  # fmt: skip
# What may stand between "the answer is" and its number, without ending the sentence.
_SENTENCE_END = re.compile(r"[.!?](?:\s|$)|\n")


def extract_answer(text: str, mode: Literal["strict", "flexible"] = "strict") -> Decimal | None:
    """The answer that ``text`` gives, or None.

    Currency signs, thousands separators, percent signs, bold marks, units and a closing full stop are set
    aside; ``3/4`` is 0.75. What is no finite number of sane size (``1e400``) is no answer.

    Args:
        text: a completion: what the model generated, without the prompt.
        mode: ``strict``, the number after the first "the answer is" (any case), in the same sentence; or
            ``flexible``, the strict answer, else the last number in the text.
    """
    if mode not in ("strict", "flexible"):
        raise InputError(f"mode {mode!r} is not known{near_match(mode, ('strict', 'flexible'))}")
    counted = _before_next_question(text)
    strict = _strict(counted)
    if strict is not None or mode == "strict":
        return strict
    last = None
    for last in _NUMBER.finditer(_without_marks(counted)):  # noqa: B007
        pass
    return _to_decimal(last) if last else None


def is_correct(answer: Decimal | None, gold: Decimal) -> bool:
    """Whether ``answer`` is the number ``gold``."""
    return answer is not None and answer == gold


def parse_number(text: str) -> Decimal | None:
    """``text`` as one exact number (``$1,234.50``, ``-3``, ``18.``, ``3/4``); None if it is anything else."""
    cleaned = _without_marks(text).strip().rstrip(".,%").strip()
    match = _NUMBER.fullmatch(cleaned)
    return _to_decimal(match) if match else None


def decimal_text(value: Decimal | None) -> str | None:
    """An answer as exact text without exponent or needless zeros."""
    if value is None:
        return None
    text = format(value, "f")
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text


def _strict(text: str) -> Decimal | None:
    cue = _CUE.search(text)
    if cue is None:
        return None
    after = _without_marks(text[cue.end() :]).lstrip(" :=\t\r\n")
    number = _NUMBER.search(after)
    if number is None or _SENTENCE_END.search(after, 0, number.start()):
        return None
    return _to_decimal(number)


def _before_next_question(text: str) -> str:
    cut = _NEXT_QUESTION.search(text)
    return text[: cut.start()] if cut else text


def _without_marks(text: str) -> str:
    """Drop bold marks and LaTeX boxes, which may stand around a number; between digits ``**`` is a power."""
    return re.sub(r"(?<!\d)(?:\*\*|__)|(?:\*\*|__)(?!\d)|\\boxed|[{}]", "", text)


def _to_decimal(match: re.Match[str]) -> Decimal | None:
    digits = match["number"].replace(",", "")
    if len(digits) > _MOST_DIGITS or len(match["exponent"] or "") > 4:
        return None
    try:
        value = Decimal(digits + (match["exponent"] or ""))
        if match["mixed"]:
            top, bottom = match["mixed"].split("/")
            value += Decimal(top.strip()) / Decimal(bottom.strip())
        elif match["denominator"]:
            value /= Decimal(match["denominator"].strip(" /"))
    except (InvalidOperation, ZeroDivisionError):
        return None
    if abs(value.adjusted()) > _MOST_DIGITS:
        return None
    negative = match["sign"].strip() or match["inner_sign"]
    return value.copy_negate() if negative and value else value  # a unary minus would round to 28 digits
