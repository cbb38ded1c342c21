"""The dashboard's socket."""
