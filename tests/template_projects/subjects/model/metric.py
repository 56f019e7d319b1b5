import torch


def hit_rate(output, target):
    with torch.no_grad():
        return ((output > 0) == (target > 0.5)).float().mean()
