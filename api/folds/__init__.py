"""What the API knows of the log: folds, each with ``apply(event)``, that sockets and routes read."""
