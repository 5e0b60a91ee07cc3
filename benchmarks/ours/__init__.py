"""What is measured of cotlens itself, each a function for `benchmarks.serve`."""
