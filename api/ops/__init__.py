"""Serves operators: their routes, and the views that these show."""
