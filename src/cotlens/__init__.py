"""Find the feed-forward neurons that carry a language model's chain-of-thought arithmetic.

Names are loaded when first used, so that ``import cotlens`` and the command line start fast.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cotlens.agreement import ranker_agreement
    from cotlens.atlas import write_atlas
    from cotlens.capture import coefficients, mean_coefficients, reference_coefficients
    from cotlens.config import RunConfig, load_config
    from cotlens.data.answers import extract_answer
    from cotlens.data.problems import load_problems
    from cotlens.data.prompts import build_prompt
    from cotlens.discover import top_neurons
    from cotlens.errors import CotlensError
    from cotlens.generate import generate
    from cotlens.inspect import describe_neuron, trace_text
    from cotlens.intervene.edits import Mean, Noise, Resample, Scale, Zero, intervene
    from cotlens.model.language_model import LanguageModel
    from cotlens.model.load import load_model
    from cotlens.pipeline import run_pipeline
    from cotlens.project import project, search_token
    from cotlens.store import Run, open_run
    from cotlens.types import Completion, NeuronId, Projection, TopNeurons

__version__ = "0.1.0"

__all__ = [
    "Completion",
    "CotlensError",
    "LanguageModel",
    "Mean",
    "NeuronId",
    "Noise",
    "Projection",
    "Resample",
    "Run",
    "RunConfig",
    "Scale",
    "TopNeurons",
    "Zero",
    "build_prompt",
    "coefficients",
    "describe_neuron",
    "extract_answer",
    "generate",
    "intervene",
    "load_config",
    "load_model",
    "load_problems",
    "mean_coefficients",
    "open_run",
    "project",
    "ranker_agreement",
    "reference_coefficients",
    "run_pipeline",
    "search_token",
    "top_neurons",
    "trace_text",
    "write_atlas",
]

_HOME = {
    "Completion": "types",
    "CotlensError": "errors",
    "LanguageModel": "model.language_model",
    "Mean": "intervene.edits",
    "NeuronId": "types",
    "Noise": "intervene.edits",
    "Projection": "types",
    "Resample": "intervene.edits",
    "Run": "store",
    "RunConfig": "config",
    "Scale": "intervene.edits",
    "TopNeurons": "types",
    "Zero": "intervene.edits",
    "build_prompt": "data.prompts",
    "coefficients": "capture",
    "describe_neuron": "inspect",
    "extract_answer": "data.answers",
    "generate": "generate",
    "intervene": "intervene.edits",
    "load_config": "config",
    "load_model": "model.load",
    "load_problems": "data.problems",
    "mean_coefficients": "capture",
    "open_run": "store",
    "project": "project",
    "ranker_agreement": "agreement",
    "reference_coefficients": "capture",
    "run_pipeline": "pipeline",
    "search_token": "project",
    "top_neurons": "discover",
    "trace_text": "inspect",
    "write_atlas": "atlas",
}


class _Package(ModuleType):
    """Keeps ``cotlens.generate`` and the like functions, although modules of the same name exist.

    Importing a submodule binds it to its package's attribute; for a public name that binding is left out.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module 'cotlens' has no attribute {name!r}")
        value = getattr(importlib.import_module(f"cotlens.{_HOME[name]}"), name)
        setattr(self, name, value)
        return value

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Package
