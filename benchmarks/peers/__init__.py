"""What other tools do with the same weights and the same texts, each a function for `benchmarks.serve`.

Nothing here imports cotlens: the peers live in an environment of their own.
"""
