"""Leaves: one file, one subject."""
