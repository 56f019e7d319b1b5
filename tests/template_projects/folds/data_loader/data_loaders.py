import numpy as np
import torch
from torch.utils.data import DataLoader, Subset, TensorDataset
from base import BaseDataLoader


class FoldDataLoader(BaseDataLoader):
    def __init__(self, batch_size, fold=0, n_folds=3, num_workers=0):
        rng = np.random.RandomState(0)
        y = rng.randint(0, 3, 150)
        x = rng.randn(150, 2) + 3 * np.stack([np.cos(y * 2.1), np.sin(y * 2.1)], axis=1)
        data = TensorDataset(torch.FloatTensor(x), torch.LongTensor(y))
        held = [i for i in range(150) if i % n_folds == fold]
        self.held_out = Subset(data, held)
        kept = Subset(data, [i for i in range(150) if i % n_folds != fold])
        super().__init__(kept, batch_size, True, 0.0, num_workers)

    def split_validation(self):
        return DataLoader(self.held_out, batch_size=50)
