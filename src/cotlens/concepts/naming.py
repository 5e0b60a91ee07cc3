"""Open labelling: the judge names each neuron's concept, and names that mean the same are merged.

Names that differ in case, hyphens, articles or a plural are one name by rule. The judge then groups what is left; where
it can't, names stay as they are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from cotlens.judge.book import Asked, Record
from cotlens.judge.protocol import MergeQuestion

__all__ = ["NONE", "as_verdicts", "concept_id", "merge_names", "plain_name"]

#: The name that says that there is no concept.
NONE = "none"
_MOST_NAMES = 100
_ARTICLE = re.compile(r"^(the|a|an) ")


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


def merge_names(names: Sequence[str], ask: Callable[[Asked], Record]) -> dict[str, str]:
    """For each name, as the judge wrote it, the name that stands for its group.

    ``ask`` puts a question to the judge. The most frequent name of a group stands for it.
    """
    plain = {name: plain_name(name) for name in names}
    often = Counter(plain[name] for name in names)
    different = sorted(set(plain.values()) - {NONE})
    leader = {name: name for name in different} | {NONE: NONE}
    for start in range(0, len(different), _MOST_NAMES):
        chunk = tuple(different[start : start + _MOST_NAMES])
        if len(chunk) > 1:
            for group in ask(Asked(MergeQuestion(chunk), "merge", tag=start)).get("answer") or ():
                best = max(group, key=lambda name: (often[name], -group.index(name)))
                leader |= dict.fromkeys(group, best)
    return {name: leader[short] for name, short in plain.items()}


def as_verdicts(records: Sequence[Record], merged: Mapping[str, str]) -> list[Record]:
    """The records with a verdict each: whether a concept was named. ``named`` is the merged name."""
    named = [merged[record["answer"]] if record["status"] == "ok" else None for record in records]
    return [
        record | {"named": name, "verdict": None if name is None else name != NONE}
        for record, name in zip(records, named, strict=True)
    ]
