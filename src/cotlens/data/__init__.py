"""Problems, demonstrations, prompt variants, and the grading of answers."""

from cotlens.data.answers import extract_answer, is_correct
from cotlens.data.problems import load_problems
from cotlens.data.prompts import Prompt, Template, build_prompt, make_template
from cotlens.data.variants import VARIANTS

__all__ = [
    "VARIANTS",
    "Prompt",
    "Template",
    "build_prompt",
    "extract_answer",
    "is_correct",
    "load_problems",
    "make_template",
]
