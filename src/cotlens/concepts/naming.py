"""Open labelling: the judge names each neuron's concept, and names that mean the same are merged.

Names that differ in case, hyphens, articles or a plural are one name by rule. The judge then groups what is left; where
it can't, names stay as they are. There may be more names than one question holds: then each piece of them is grouped on
its own, and of what is left every two pieces together, so that any two names stand in one question at some time.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

from cotlens.judge.book import Asked, Record
from cotlens.judge.protocol import MergeQuestion

__all__ = ["NONE", "as_verdicts", "concept_id", "merge_names", "plain_name"]

#: The name that says that there is no concept.
NONE = "none"
#: Names that are put into one question.
_MOST_NAMES = 100
_ARTICLE = re.compile(r"^(the|a|an) ")

_Piece = tuple[str, ...]


def plain_name(name: str) -> str:
    """``name`` in lower case, with single spaces, without article, hyphens, quotation marks and a plural ``s``."""
    words = re.sub(r"[^\w+*/=%<>^ ]+", " ", name.casefold().replace("_", " ")).split()
    text = _ARTICLE.sub("", " ".join(words))
    if len(text) > 3 and text.endswith("s") and not text.endswith(("ss", "us", "is")):
        text = text[:-1]
    return text or NONE


def concept_id(name: str) -> str:
    """``name`` as the id of a concept: ``unit of length`` is ``unit_of_length``."""
    return re.sub(r"[^\w]+", "_", name).strip("_") or name


def merge_names(names: Sequence[Sequence[str]], ask: Callable[[Sequence[Asked]], Sequence[Record]]) -> dict[str, str]:
    """For each name, as a judge wrote it, the name that stands for its group.

    Args:
        names: what each judge wrote, the one that decides first. The name that it gave most often stands for a group.
        ask: puts questions to the judge that decides.
    """
    plain = {name: plain_name(name) for own in names for name in own}
    often = [Counter(plain[name] for name in own) for own in names]
    leader = {name: name for name in plain.values()}

    def join(pieces: Sequence[_Piece]) -> None:
        questions = [Asked(MergeQuestion(piece), "merge", tag=tag) for tag, piece in enumerate(pieces)]
        for record in ask(questions):
            for group in record.get("answer") or ():
                heads = list(dict.fromkeys(leader[name] for name in group))
                best = max(heads, key=lambda name: [count[name] for count in often])
                leader.update((name, best) for name, head in leader.items() if head in heads)

    if len(left := _left(leader)) > _MOST_NAMES:
        join(_pieces(left, _MOST_NAMES))
    if len(left := _left(leader)) > 1:
        join(_together(left))
    return {name: leader[short] for name, short in plain.items()}


def as_verdicts(records: Sequence[Record], merged: Mapping[str, str]) -> list[Record]:
    """The records with a verdict each: whether a concept was named. ``named`` is the merged name."""
    named = [
        merged.get(record["answer"], plain_name(record["answer"])) if record["status"] == "ok" else None
        for record in records
    ]
    return [
        record | {"named": name, "verdict": None if name is None else name != NONE}
        for record, name in zip(records, named, strict=True)
    ]


def _left(leader: Mapping[str, str]) -> _Piece:
    return tuple(sorted(set(leader.values()) - {NONE}))


def _pieces(names: _Piece, most: int) -> list[_Piece]:
    return [names[start : start + most] for start in range(0, len(names), most)]


def _together(names: _Piece) -> list[_Piece]:
    """Pieces that hold any two of ``names`` together at least once."""
    if len(names) <= _MOST_NAMES:
        return [names]
    return [one + other for one, other in combinations(_pieces(names, _MOST_NAMES // 2), 2)]
