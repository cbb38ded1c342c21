"""Way 3, REBUILD: examples to archive, dataset, training job, evaluation, gate, endpoint and model-version event."""
