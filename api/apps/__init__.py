"""Predictions for apps."""
