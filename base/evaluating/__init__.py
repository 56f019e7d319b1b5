"""Runs tested on data sets, and asked about files."""
