"""Holds the stream processors: pure decisions over one transport (`streams.transport`). `streams.app` is the whole topology."""
