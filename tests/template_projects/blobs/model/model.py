import torch.nn as nn
import torch.nn.functional as F
from base import BaseModel


class BlobsModel(BaseModel):
    def __init__(self, num_classes=3):
        super().__init__()
        self.fc1 = nn.Linear(2, 16)
        self.drop = nn.Dropout(0.2)
        self.fc2 = nn.Linear(16, num_classes)

    def forward(self, x):
        x = F.relu(self.fc1(x))
        return F.log_softmax(self.fc2(self.drop(x)), dim=1)
