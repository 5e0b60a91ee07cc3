"""Loading a model, and the views of it that the rest of cotlens works on.

Nothing is imported here: finding a model's files (`source`) must not wait for torch.
"""
