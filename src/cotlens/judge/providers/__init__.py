"""Servers that judge: one small class each, imported when it is used."""
