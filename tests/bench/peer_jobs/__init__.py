"""The jobs of `tests.bench.peers`, in each peer as its own documentation shows; each runs in an environment of its own."""
