"""Rebuilds models (way 3): from examples to archive, dataset, training job, evaluation, gate, endpoint and event."""
