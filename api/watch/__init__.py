"""Serves the dashboard's socket."""
