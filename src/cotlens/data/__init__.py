"""Problems, demonstrations, prompt variants, and the grading of answers."""

from cotlens.data.answers import extract_answer, is_correct
from cotlens.data.problems import load_problems
from cotlens.data.variants import VARIANTS, build_prompt

__all__ = ["VARIANTS", "build_prompt", "extract_answer", "is_correct", "load_problems"]
