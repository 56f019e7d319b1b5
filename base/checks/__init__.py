"""Checks before training that need data and a model."""
