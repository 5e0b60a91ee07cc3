"""Who decides whether a neuron's tokens carry a concept."""

from cotlens.judge.protocol import Judge, Judgement, Question
from cotlens.judge.registry import JUDGES, check_judge, make_judge

__all__ = ["JUDGES", "Judge", "Judgement", "Question", "check_judge", "make_judge"]
