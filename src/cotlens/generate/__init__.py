"""Greedy generation for many prompts that share their beginning."""

from cotlens.generate.engine import generate

__all__ = ["generate"]
