import torch.nn as nn
from base import BaseModel


class FoldModel(BaseModel):
    def __init__(self, num_classes=3):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, num_classes))

    def forward(self, x):
        return self.net(x)
