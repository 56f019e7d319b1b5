import pytest
import torch

from base import METRICS, MODELS
from base.errors import MetricError
from base.loop.metrics import Mean


@pytest.mark.parametrize("name", ["MLP", "LeNet", "ConvNet", "ResNet"])
def test_a_model_gives_logits_for_garments_and_learns_in_every_parameter(name: str) -> None:
    model = MODELS.get(name)(num_classes=7)
    output = model(torch.rand(5, 1, 28, 28))
    assert output.shape == (5, 7)
    output.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_the_mlp_of_the_quickstart_is_the_default() -> None:
    layers = [(m.in_features, m.out_features) for m in MODELS.get("MLP")().modules() if isinstance(m, torch.nn.Linear)]
    assert layers == [(784, 512), (512, 512), (512, 10)]


@pytest.mark.parametrize("name", ["ConvNet", "ResNet"])
def test_other_sizes_and_channels_fit(name: str) -> None:
    assert MODELS.get(name)(in_channels=3)(torch.rand(2, 3, 32, 32)).shape == (2, 10)


def test_accuracy_is_exact_whatever_the_batches() -> None:
    outputs, targets = torch.randn(103, 10), torch.randint(10, (103,))
    metric = METRICS.get("accuracy")()
    for start in range(0, 103, 25):
        metric.update(outputs[start : start + 25], targets[start : start + 25])
    assert metric.compute() == (outputs.argmax(1) == targets).sum().item() / 103


def test_top_k_counts_the_class_among_the_k_largest() -> None:
    outputs, targets = torch.tensor([[0.1, 0.3, 0.2], [0.5, 0.1, 0.4]]), torch.tensor([2, 1])
    for k, value in ((2, 0.5), (3, 1.0)):
        metric = METRICS.get("top_k_accuracy")(k=k)
        metric.update(outputs, targets)
        assert metric.compute() == value
    with pytest.raises(MetricError, match="k is 4, and there are 3 classes"):
        METRICS.get("top_k_accuracy")(k=4).update(outputs, targets)


def test_a_metric_may_give_one_number_a_batch_weighted_by_its_size() -> None:
    metric = Mean(lambda output, target: float(output.mean()))
    metric.update(torch.ones(1), torch.ones(1))
    metric.update(torch.zeros(3), torch.zeros(3))
    assert metric.compute() == 0.25
