"""Reading the answer from a completion, and grading it.

*Strict*: the number that follows the first "the answer is". *Flexible*: the strict answer if there is one,
else the last number in the text. Only text before an invented next ``Question:`` counts. Numbers are compared
as numbers.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Literal

from cotlens.errors import InputError, near_match

__all__ = ["decimal_text", "extract_answer", "grade", "is_correct", "parse_number", "until_next_question"]

#: A number of more digits is no answer to a word problem, and arithmetic on it could be made to hang.
_MOST_DIGITS = 30

# With a capital anywhere, even glued to the answer; in lower case at the start of a line only: "to answer the
# question:" is part of a solution.
_NEXT_QUESTION = re.compile(r"Question\s*:|^[ \t]*(?i:question|q)[ \t]*:", re.MULTILINE)
_CUE = re.compile(r"\bthe\s+answer\s+is\b", re.IGNORECASE)

_GAP = r"[^\S\r\n]"  # a space within a line: numbers on two lines are two numbers
# A minus sign glued to a number belongs to it unless an operand stands before it: "10-4" ends in a 4. With a space
# after it, it does so only at the beginning, or after an equals sign, colon or bracket: "230 m - 85 m" ends in 85.
_SIGN = rf"(?<![\w.)\]%])(?:(?<![\d)\]%]{_GAP})[-−–]|(?:\A|(?<=[=:(])|(?<=[=:(]\s))[-−–]\s)?"
_CURRENCY = r"(?:(?:[$€£¥₹]|US\$|\\\$)\s?(?P<inner_sign>[-−–])?)?"
# Thousands apart by commas or fixed spaces; by plain spaces if that can't be two numbers side by side. None of the last
# kind begins behind three digits and a space, so that a long row of numbers is walked through once.
_DIGITS = (
    r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d{1,3}(?:[\u00a0\u2009\u202f]\d{3})+(?!\d)"
    r"|(?:\d\d?|(?<!\d{3} )\d{3})(?: \d{3}){2,}(?! ?\d)|\d{1,3} 000(?! ?\d)|\d+)"
)
_DECIMAL = rf"(?:{_DIGITS}(?:\.\d+)?)"
_NUMBER = re.compile(
    rf"(?P<sign>{_SIGN}){_CURRENCY}(?P<number>{_DECIMAL}|\.\d+)"
    rf"(?:(?P<exponent>[eE][+-]?\d+(?!\w))|{_GAP}?(?:×|\*|\\times|x){_GAP}?10\^(?P<power>[-−]?\d+))?"
    # "14 / 25 = 0.56" is an equation whose first number is 14; "14/25" without spaces is a fraction always.
    rf"(?:(?P<mixed>{_GAP}\d+{_GAP}?/{_GAP}?\d+)"
    rf"|(?P<denominator>/{_DECIMAL}|(?>{_GAP}?/{_GAP}?{_DECIMAL})(?!\s*=)))?(?!\d)"
)  # fmt: skip
# At the beginning of a line; "320." alone on its line is a number.
_LIST_MARKER = re.compile(r"^[ \t]*(?:[-*+•–]|\d+[.)])[ \t]+(?=\S)", re.MULTILINE)
_FRACTION = re.compile(rf"\\[dt]?frac\s*\{{\s*([-−]?{_DECIMAL})\s*\}}\s*\{{\s*({_DECIMAL})\s*\}}")
# What may stand between "the answer is" and its number without ending the sentence; a dash on a new line is a bullet.
_BEFORE_NUMBER = re.compile(r"\A(?:\n[ \t]*[-*+•–][ \t]|[\s:=]|\\\[|\\\(|\$\$)+")
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
    counted = until_next_question(text)
    strict = _strict(counted)
    if strict is not None or mode == "strict":
        return strict
    last = None
    for last in _NUMBER.finditer(_LIST_MARKER.sub("", _without_marks(counted))):  # noqa: B007
        pass
    return _to_decimal(last) if last else None


def grade(text: str, stated: str | None = None) -> tuple[Decimal | None, Decimal | None]:
    """The strict and the flexible answer of a completion.

    Args:
        text: the completion.
        stated: what the model wrote when it was asked once more, after "the answer is"; None if it was not.
    """
    strict = extract_answer(text, "strict")
    if strict is None and stated is not None:
        strict = extract_answer(f"The answer is{stated}", "strict")
    return strict, extract_answer(text, "flexible") if strict is None else strict


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
    plain = _without_marks(text)
    cue = _CUE.search(plain)
    if cue is None:
        return None
    after = _BEFORE_NUMBER.sub("", plain[cue.end() :], count=1)
    number = _NUMBER.search(after)
    if number is None or _SENTENCE_END.search(after, 0, number.start()):
        return None
    return _to_decimal(number)


def until_next_question(text: str) -> str:
    """What counts of a completion: its text up to a question that the model invents."""
    cut = _NEXT_QUESTION.search(text)
    return text[: cut.start()] if cut else text


def _without_marks(text: str) -> str:
    """Without bold marks and LaTeX, which may stand around a number; between digits ``**`` is a power."""
    text = re.sub(r"(?<!\d)(?:\*\*|__)|(?:\*\*|__)(?!\d)", "", text)
    text = re.sub(r"\{,\}|(?<=\d)\\,(?=\d{3})", ",", text.replace("\\!", ""))
    text = _FRACTION.sub(r"\1/\2", re.sub(r"(?<=\d)(?=\\[dt]?frac)", " ", text))
    text = re.sub(r"\^\{\s*([-−]?\d+)\s*\}", r"^\1", text)
    text = re.sub(r"(?P<sign>[-−–]?)\\boxed\s*\{", lambda box: box["sign"] or " ", text)
    return re.sub(r"[{}]", " ", text)


def _to_decimal(match: re.Match[str]) -> Decimal | None:
    digits = re.sub(r"[,\s]", "", match["number"])
    exponent = match["exponent"] or (f"e{match['power'].replace('−', '-')}" if match["power"] else "")
    if len(digits) > _MOST_DIGITS or len(exponent) > 4:
        return None
    try:
        value = Decimal(digits + exponent)
        if match["mixed"]:
            top, bottom = match["mixed"].split("/")
            value += Decimal(top.strip()) / Decimal(bottom.strip())
        elif match["denominator"]:
            value /= Decimal(re.sub(r"[,\s/]", "", match["denominator"]))
    except ArithmeticError:
        return None
    if abs(value.adjusted()) > _MOST_DIGITS:
        return None
    negative = match["sign"].strip() or match["inner_sign"]
    return value.copy_negate() if negative and value else value  # a unary minus would round to 28 digits
