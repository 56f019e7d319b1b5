"""What projects made from pytorch-template bring along: epochs of their own, checkpoints, the names they use."""
