import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler, TensorDataset
from torch.utils.data.sampler import SubsetRandomSampler
from base import BaseDataLoader


class BalancedSampler(Sampler):
    """As many of each class, drawn with replacement."""
    def __init__(self, indices, labels):
        self.groups = [np.array([i for i in indices if labels[i] == c]) for c in sorted(set(labels[indices]))]

    def __len__(self):
        return len(self.groups) * max(len(g) for g in self.groups)

    def __iter__(self):
        size = max(len(g) for g in self.groups)
        drawn = np.concatenate([np.random.choice(g, size) for g in self.groups])
        return iter(np.random.permutation(drawn).tolist())


class SubjectDataLoader(BaseDataLoader):
    """Train, validation and test never share a subject"""
    def __init__(self, batch_size, shuffle=True, validation_split=0.2, test_split=0.2, num_workers=0):
        rng = np.random.RandomState(5)
        self.labels = (rng.rand(200) < 0.3).astype(np.int64)
        self.subjects = rng.randint(0, 20, 200)
        self.test_split = test_split
        x = rng.randn(200, 3) + self.labels[:, None]
        data = TensorDataset(torch.FloatTensor(x), torch.FloatTensor(self.labels[:, None]))
        super().__init__(data, batch_size, shuffle, validation_split, num_workers)

    def _split_sampler(self, split):
        np.random.seed(0)
        order = np.random.permutation(20)
        n_valid, n_test = int(20 * split), int(20 * self.test_split)
        part = {s: 'valid' if i < n_valid else 'test' if i < n_valid + n_test else 'train' for i, s in enumerate(order)}
        where = np.array([part[s] for s in self.subjects])
        train, valid, test = (np.flatnonzero(where == name) for name in ('train', 'valid', 'test'))
        self.shuffle = False
        self.n_samples = len(train)
        self.test_sampler = SubsetRandomSampler(test.tolist())
        return BalancedSampler(train, self.labels), SubsetRandomSampler(valid.tolist())

    def split_test(self):
        return DataLoader(sampler=self.test_sampler, **self.init_kwargs)
