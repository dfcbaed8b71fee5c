"""Benchmarks: each a ratio to a peer or limit in the same run, or a rate with its machine named."""
