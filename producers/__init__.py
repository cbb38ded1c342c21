"""Puts things where another process finds them: the bus, blobs, topics, logs, and the simulated players."""
