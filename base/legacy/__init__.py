"""Compatibility with projects made from pytorch-template."""
