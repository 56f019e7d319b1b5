import numpy as np
import torch
from torch.utils.data import TensorDataset

from base import BaseDataLoader


class BlobsDataLoader(BaseDataLoader):
    """
    Three clouds of points in the plane
    """
    def __init__(self, data_dir, batch_size, shuffle=True, validation_split=0.0, num_workers=1, training=True):
        self.data_dir = data_dir
        rng = np.random.RandomState(0 if training else 1)
        target = rng.randint(0, 3, 300)
        data = rng.randn(300, 2) + 3 * np.stack([np.cos(target * 2.1), np.sin(target * 2.1)], axis=1)
        self.points = TensorDataset(torch.FloatTensor(data), torch.LongTensor(target))
        super().__init__(self.points, batch_size, shuffle, validation_split, num_workers)
