"""Defines the jobs of `tests.bench.peers` for each peer, as its own documentation shows; each has its own environment."""
