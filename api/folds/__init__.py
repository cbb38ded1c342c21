"""Folds the log into the state that sockets and routes read: each fold has ``apply(event)``."""
