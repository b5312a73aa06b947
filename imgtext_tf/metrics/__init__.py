"""Metrics in plain NumPy."""
