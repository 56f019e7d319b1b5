import torch
import torch.nn.functional as F


def weighted_ce(output, target, class_counts):
    weight = 1 / torch.as_tensor(class_counts, dtype=torch.float)
    return F.cross_entropy(output, target, weight=(weight / weight.sum()).to(output.device))
