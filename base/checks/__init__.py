"""What is looked at before training begins, beside the config."""
