"""An example of a model: replace it with your own."""

from torch import Tensor, nn

from base import MODELS


@MODELS.register
class PointsNet(nn.Module):
    """(B, 2) to logits (B, num_classes)."""

    def __init__(self, num_classes: int, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, num_classes)
        )

    def forward(self, points: Tensor) -> Tensor:
        return self.layers(points)
