import random
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset
from base import BaseDataLoader


class Sentences(Dataset):
    def __init__(self, drop=0.1):
        rng = random.Random(3)
        self.rows = []
        for _ in range(160):
            label = rng.randrange(2)
            words = [rng.randrange(2, 12) if rng.random() < 0.5 else 1 + 11 * label for _ in range(rng.randrange(3, 9))]
            self.rows.append((words, label))
        self.drop = drop

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        words, label = self.rows[i]
        kept = [w for w in words if random.random() > self.drop] or words[:1]
        return {'text': torch.tensor(kept), 'label': label}


def pad_collate(batch):
    return {
        'text': pad_sequence([b['text'] for b in batch], batch_first=True),
        'length': torch.tensor([len(b['text']) for b in batch]),
        'label': torch.tensor([b['label'] for b in batch]),
    }


class SentenceLoader(BaseDataLoader):
    def __init__(self, batch_size, shuffle=True, validation_split=0.0, num_workers=0):
        super().__init__(Sentences(), batch_size, shuffle, validation_split, num_workers, collate_fn=pad_collate)
