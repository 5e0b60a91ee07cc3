"""Loading a model, and the views of it that the rest of cotlens works on."""

from cotlens.model.architecture import FeedForward
from cotlens.model.language_model import LanguageModel
from cotlens.model.load import load_model
from cotlens.model.source import ModelSource, resolve_model

__all__ = ["FeedForward", "LanguageModel", "ModelSource", "load_model", "resolve_model"]
