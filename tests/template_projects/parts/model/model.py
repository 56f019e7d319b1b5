import torch.nn as nn
from base import BaseModel


class CurveModel(BaseModel):
    def __init__(self, width=16):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, 1))

    def forward(self, x):
        return self.body(x)
