"""Tests a run on datasets, and predicts files."""
