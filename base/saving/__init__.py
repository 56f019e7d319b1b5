"""Checkpoints: what survives a restart, written so that nothing is lost and read so that nothing runs."""
