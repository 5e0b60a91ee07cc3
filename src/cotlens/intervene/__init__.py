"""Editing what neurons write, without touching a weight; and what accuracy remains."""
