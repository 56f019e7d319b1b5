"""Checkpoints: what a resume needs, written atomically, verified when read, and never executed."""
