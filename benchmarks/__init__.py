"""Benchmarks: each file has `run(seed, n) -> dict`, for `perdure bench NAME`."""
