"""Answers --explain, --list and --schema."""
