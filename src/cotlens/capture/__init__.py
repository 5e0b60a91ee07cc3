"""Reading feed-forward neurons while a model reads a text: the top-K by a ranker, or the exact coefficients of some."""

from cotlens.capture.exact import coefficients, mean_coefficients, reference_coefficients
from cotlens.capture.lens import LensRecorder, LensTop, join_lenses, record_lens
from cotlens.capture.passages import Passage
from cotlens.capture.rankers import RANKERS, LayerTrace, Ranker
from cotlens.capture.readers import Reader, open_reader
from cotlens.capture.top_k import TopKRecorder, capture_top_neurons, concatenate, select_top_k

__all__ = [
    "RANKERS",
    "LayerTrace",
    "LensRecorder",
    "LensTop",
    "Passage",
    "Ranker",
    "Reader",
    "TopKRecorder",
    "capture_top_neurons",
    "coefficients",
    "concatenate",
    "join_lenses",
    "mean_coefficients",
    "open_reader",
    "record_lens",
    "reference_coefficients",
    "select_top_k",
]
