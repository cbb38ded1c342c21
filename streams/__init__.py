"""The stream processors: pure decisions, and one seam to Faust (`streams.pipe`). `streams.app` is the whole topology."""
