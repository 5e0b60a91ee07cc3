"""Editing what neurons write, without touching a weight; and what accuracy remains."""

from cotlens.intervene.edits import Edit, Noise, Scale, Zero, intervene

__all__ = ["Edit", "Noise", "Scale", "Zero", "intervene"]
