"""From a `data` section to loaders, facts, decisions and splits."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from base.errors import ConfigError, DataError
from data_loader import download
from data_loader.open_datasets import tensors_of
from tests.data_loader.test_images import write_set
from tests.data_loader.toy_sets import AUGMENTED, components, equal, make

TO_FLOAT = components("ToFloat")


def fashion(root: Path, **data: Any) -> Any:
    args = {"root": str(root), **data.pop("args", {})}
    return make("FashionMNIST", args, transform=TO_FLOAT, eval_transform=TO_FLOAT, **data)


def test_facts_tell_classes_shape_and_counts() -> None:
    data = make(valid=0.2, eval_transform=components(("RandomCrop", {"size": [5, 6]})), seed=3)
    assert dict(data.facts) == {
        "data.num_classes": 5,
        "data.input_shape": [1, 5, 6],
        "data.class_counts": torch.bincount(data.split["train"] % 5).tolist(),
    }
    assert sum(data.facts["data.class_counts"]) == 40


def test_facts_are_found_by_reading_a_set_that_offers_no_targets() -> None:
    data = make("ToyFolder")
    assert data.facts["data.num_classes"] == 2 and data.facts["data.class_counts"] == [4, 4]


def test_facts_that_a_set_does_not_have_cost_nothing_until_asked_for() -> None:
    data = make("ToyNamed", target_transform={"type": "OneHot", "args": {"num_classes": "${data.num_classes}"}})
    assert next(iter(data.train.batches())).label.shape == (8, 5)
    words = make("ToyWords")
    with pytest.raises(ValueError, match=r"data.keys.target: expected one of the sample's keys"):
        words.facts["data.num_classes"]


@pytest.mark.parametrize(("valid", "sizes"), [(0.1, {"": 5}), (7, {"": 7}), ({"a": 0.5, "b": 3}, {"a": 25, "b": 3})])
def test_parts_of_the_training_data_become_validation_sets(valid: Any, sizes: dict[str, int]) -> None:
    data = make(valid=valid, transform=AUGMENTED, eval_transform=TO_FLOAT)
    assert {name: loader.size for name, loader in data.valid.items()} == sizes
    assert data.train.size == 50 - sum(sizes.values())
    assert len(torch.cat(list(data.split.values())).unique()) == 50
    images = torch.cat([x for x, _ in data.valid[next(iter(sizes))].batches()])
    part = data.split["valid" if "" in sizes else "valid_a"]
    assert torch.equal(images, make().train.tensors[0][part] / 255)  # type: ignore[attr-defined]


def test_a_set_of_its_own_and_parts_can_stand_side_by_side() -> None:
    data = make(valid={"own": {"type": "ToyImages", "args": {"size": 9}}, "part": 0.2})
    assert {name: loader.size for name, loader in data.valid.items()} == {"own": 9, "part": 10}
    assert list(data.split) == ["train", "valid_part"]
    assert make(valid={"type": "ToyImages", "args": {"size": 9}}).split == {}


def test_the_split_follows_the_seed_and_can_be_stratified() -> None:
    first, again, other = (make(valid=0.2, seed=seed).split["valid"] for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    stratified = make(valid=0.2, stratify=True).split["valid"]
    assert torch.bincount(stratified % 5).tolist() == [2] * 5


def test_taking_everything_for_validation_is_a_fault_of_the_config() -> None:
    with pytest.raises(ConfigError, match=r"data\.valid: 50 of 50 samples are set aside"):
        make(valid=50)


def test_the_test_set_is_the_training_sets_other_part_if_it_has_one() -> None:
    assert {name: loader.size for name, loader in make().test.items()} == {"": 50}
    assert not equal(next(make().test[""].batches()), next(make(loader={"shuffle": False}).train.batches()))
    assert make("ToyNoise").test == make(test=None).test == make(args={"train": False}).test == {}
    named = make(test={"a": {"type": "ToyNoise"}, "b": {"type": "ToyImages", "args": {"size": 3}}})
    assert {name: loader.size for name, loader in named.test.items()} == {"a": 12, "b": 3}


def test_data_goes_into_memory_if_it_can_and_the_reason_is_kept() -> None:
    reasons = {
        "it is held as tensors, all transforms treat whole batches": make(transform=AUGMENTED),
        "jitter treats one sample at a time": make(transform=components("ToFloat", "jitter")),
        "less_one treats one sample at a time": make(target_transform={"type": "less_one"}),
        "as_sets makes batches of single samples": make(loader={"collate_fn": {"type": "as_sets"}}),
        "data.loader.in_memory is false": make(loader={"in_memory": False}),
        "ToyNoise does not give its data as tensors (no method as_tensors)": make("ToyNoise"),
    }
    for number, (reason, data) in enumerate(reasons.items()):
        assert data.decisions["in_memory"]["train"] == {"in_memory": number == 0, "reason": reason}


def test_wanting_what_cannot_be_in_memory_names_what_stands_in_the_way() -> None:
    with pytest.raises(ConfigError) as error:
        make(transform=components("jitter"), loader={"in_memory": True})
    assert "data.loader.in_memory: ToyImages (train) cannot be held in memory: jitter treats one" in str(error.value)


def test_a_resumed_run_keeps_what_it_decided() -> None:
    kept = make(loader={"in_memory": False}).decisions
    resumed = make(kept=kept)
    assert resumed.decisions == kept
    assert make().decisions["in_memory"]["train"]["in_memory"]
    changed = make(kept=make().decisions, transform=components("jitter")).decisions["in_memory"]["train"]
    assert changed == {"in_memory": False, "reason": "jitter treats one sample at a time"}


def test_fingerprints_tell_data_apart() -> None:
    def fingerprints(*args: Any, **data: Any) -> dict[str, str]:
        found: dict[str, str] = make(*args, **data).decisions["fingerprint"]
        return found

    base = fingerprints(valid=0.2)
    assert set(base) == {"train", "valid", "test"} and base["train"].startswith("40:")
    assert fingerprints(valid=0.2) == base == fingerprints(valid=0.2, transform=AUGMENTED, loader={"in_memory": False})
    assert fingerprints(valid=0.2, seed=1)["train"] != base["train"]
    assert fingerprints(args={"size": 51})["train"] != fingerprints()["train"] != base["train"]
    assert fingerprints(args={"num_classes": 4})["train"] != fingerprints()["train"]
    assert fingerprints("ToyNoise") == fingerprints("ToyNoise") and fingerprints("ToyWords") == fingerprints("ToyWords")


def test_torchvisions_and_torchs_own_sets_are_held_in_memory(tmp_path: Path) -> None:
    from torch.utils.data import TensorDataset
    from torchvision import datasets

    write_set(tmp_path, "KMNIST")
    images, labels = tensors_of(datasets.KMNIST(str(tmp_path))) or ()
    assert images.shape == (20, 1, 28, 28) and labels.dtype == torch.int64
    assert tensors_of(TensorDataset(images, labels)) == (images, labels)
    assert tensors_of(datasets.FakeData()) is None


def test_what_as_tensors_gives_is_looked_at() -> None:
    class Offers:
        def __init__(self, offered: Any) -> None:
            self.as_tensors = lambda: offered

    single = torch.zeros(3, 2)
    assert [t is single for t in tensors_of(Offers(single)) or ()] == [True]
    with pytest.raises(DataError, match=r"Offers.as_tensors: expected tensors, found ndarray; torch.as_tensor makes"):
        tensors_of(Offers((single, np.zeros(3))))
    with pytest.raises(DataError, match="Offers: expected tensors of one length, found 3, 2"):
        tensors_of(Offers((single, torch.zeros(2))))


def test_arguments_that_a_component_refuses_are_told_at_their_key() -> None:
    for changes, key in (
        ({"transform": components(("RandomHorizontalFlip", {"p": 2.0}))}, "data.transform.train.0"),
        ({"eval_transform": components(("RandomCrop", {"size": 0}))}, "data.transform.eval.0"),
        (
            {"loader": {"sampler": {"type": "WeightedRandomSampler", "args": {"weights": [], "num_samples": 0}}}},
            "data.loader.sampler",
        ),
        ({"transform": components(("RandomCrop", {"size": "${trainer.total_steps}"}))}, "data.transform.train.0"),
    ):
        with pytest.raises(ConfigError) as error:
            make(**changes)
        assert error.value.faults[0].key == key


def test_arguments_that_a_data_set_refuses_are_told_at_its_key(tmp_path: Path) -> None:
    np.save(tmp_path / "series.npy", np.arange(30))
    args, wrong = {"path": str(tmp_path / "series.npy"), "window": 2}, {"type": "SyntheticFashion", "args": {"size": 0}}
    for changes, key, what in (
        ({"train": "SlidingWindows", "args": {**args, "window": 0}}, "data.train", "SlidingWindows refuses this: Val"),
        ({"valid": {"odd_one": wrong, "other": 1}}, "data.valid.odd_one", "SyntheticFashion refuses this: ValueError:"),
    ):
        with pytest.raises(ConfigError) as error:
            make(**changes)
        assert error.value.faults[0].key == key and error.value.faults[0].what.startswith(what)


def test_without_a_stand_in_nobody_is_told_to_take_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cifar-10-binary\.tar\.gz in [^,]*$"):
        make("CIFAR10", {"root": str(tmp_path), "download": False})


def test_an_index_that_a_sampler_makes_up_is_refused() -> None:
    for in_memory in (True, False):
        loader = {"in_memory": in_memory, "sampler": {"type": "SubsetRandomSampler", "args": {"indices": [1, 50]}}}
        with pytest.raises(
            DataError, match=r"the sampler gives the index 50; the training data has indices from 0 to 49"
        ):
            list(make(loader=loader).train.batches())


def test_present_files_are_real_data(tmp_path: Path) -> None:
    write_set(tmp_path)
    data = fashion(tmp_path, offline="synthetic")
    assert data.decisions["data"] == "real" and (data.train.size, data.test[""].size) == (20, 10)
    assert data.facts["data.num_classes"] == 10 and data.facts["data.input_shape"] == [1, 28, 28]


@pytest.fixture
def small_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """SyntheticFashion without the seconds that drawing all of it takes."""
    from data_loader.synthetic import fashion as synthetic

    monkeypatch.setattr(synthetic, "TRAIN_SIZE", 40)
    monkeypatch.setattr(synthetic, "TEST_SIZE", 30)
    monkeypatch.setattr(synthetic, "_kept_or_drawn", lambda file, size, train, seed: synthetic._draw(size, train, seed))


@pytest.mark.usefixtures("small_stand_in")
def test_without_files_and_network_all_sets_are_synthetic_and_no_one_can_miss_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    raw = write_set(tmp_path)
    for file in raw.glob("t10k*"):
        file.unlink()  # the training files alone are there: real and synthetic never mix
    data = fashion(tmp_path, offline="synthetic")
    assert data.decisions["data"] == "synthetic" and (data.train.size, data.test[""].size) == (40, 30)
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1 and "SYNTHETIC DATA" in warnings[0].getMessage()


@pytest.mark.usefixtures("small_stand_in")
def test_a_resumed_run_stays_with_the_data_it_began_with(tmp_path: Path) -> None:
    write_set(tmp_path / "there")
    synthetic = fashion(tmp_path / "there", offline="error", kept={"data": "synthetic"})
    assert synthetic.train.size == 40 and synthetic.decisions["data"] == "synthetic"
    with pytest.raises(DataError, match="the run began on the real data and goes on with nothing else"):
        fashion(tmp_path / "gone", offline="synthetic", kept={"data": "real"})


def test_offline_error_names_the_files_and_what_else_can_be_done(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        fashion(tmp_path, offline="error")
    for part in (
        "train-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
        f"{tmp_path}/FashionMNIST/raw",
        "data.offline: synthetic",
    ):
        assert part in str(error.value)
    assert error.value.exit_code == 5


def test_damaged_files_are_never_replaced_by_synthetic_data(tmp_path: Path) -> None:
    raw = write_set(tmp_path)
    (raw / "train-images-idx3-ubyte").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte is damaged: .*delete it"):
        fashion(tmp_path, offline="synthetic")


def test_only_fashion_mnist_has_a_stand_in(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"nothing stands in for MNIST as SyntheticFashion does for FashionMNIST \(MNIST: its files are",
    ):
        make("MNIST", {"root": str(tmp_path)}, offline="synthetic")


def test_a_library_set_that_is_not_there_is_missing_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"SVHN \(data.train\) cannot be opened: RuntimeError: Dataset not found"):
        make("SVHN", {"root": str(tmp_path)})


def test_what_is_no_data_set_is_refused() -> None:
    with pytest.raises(DataError, match=r"ToySet \(data.train\) is no dataset: it needs __len__ and __getitem__"):
        make("ToySet")


def test_an_empty_set_is_refused() -> None:
    with pytest.raises(DataError, match=r"ToyImages \(train\) has no samples"):
        make(args={"size": 0})


def test_the_time_for_a_mirror_to_answer_is_ten_seconds_in_all() -> None:
    assert download.PATIENCE == 10
