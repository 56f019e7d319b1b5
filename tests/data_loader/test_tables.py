"""Tables and arrays from files: values, types and classes as they lie there; what is wrong is told with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from base.errors import DataError
from data_loader.open_datasets import tensors_of
from data_loader.tables import Arrays, Table
from tests.data_loader.toy_sets import equal, make

IRIS = """\
width, length,kind,part
1.5,2,setosa,train
-3,4e-1,virginica,train

5,6,"setosa",test
"""


def table(folder: Path, text: str = IRIS) -> Path:
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


def values(*args: Any, **options: Any) -> list[Any]:
    return [tensor.tolist() for tensor in Table(*args, **options).as_tensors()]


def test_columns_become_features_and_targets(tmp_path: Path) -> None:
    path = table(tmp_path, "\ufeffa,b,c\n1,2,3\n4,5,6\n")
    regression = Table(path, "c")
    features, targets = regression.as_tensors()
    assert features.tolist() == [[1, 2], [4, 5]] and targets.tolist() == [[3], [6]]
    assert features.dtype == targets.dtype == torch.float32
    assert values(path, ["a", "c"], features=["b"]) == [[[2], [5]], [[1, 3], [4, 6]]]
    assert values(path, "a", features=["c", "b"], classification=True) == [[[3, 2], [6, 5]], [1, 4]]
    assert equal(regression[1], (features[1], targets[1])) and len(regression) == 2


def test_classes_are_numbers_or_names_and_a_column_says_which_rows_are_a_part(tmp_path: Path) -> None:
    path, options = table(tmp_path), {"target": "kind", "classification": True, "split": "part"}
    train = Table(path, part="train", **options)
    assert train.as_tensors()[0].tolist() == [[1.5, 2], [-3, pytest.approx(0.4)]]
    assert train.as_tensors()[1].tolist() == [0, 1] and train.classes == ("setosa", "virginica")
    assert train[1][1] == 1 and isinstance(train[1][1], int)
    test = Table(path, part="test", **options)
    assert (len(test), test[0][1], test.classes) == (1, 0, train.classes)
    named = Table(path, part="test", classes=["versicolor", "virginica", "setosa"], **options)
    assert named[0][1] == 2


def test_the_other_part_of_a_table_is_its_test_set(tmp_path: Path) -> None:
    args = {"path": str(table(tmp_path)), "target": "kind", "classification": True, "split": "part", "part": "train"}
    data = make("Table", args)
    assert (data.train.size, {name: loader.size for name, loader in data.test.items()}) == (2, {"": 1})
    assert data.facts["data.num_classes"] == 2 and data.facts["data.input_shape"] == [2]
    assert data.decisions["in_memory"]["train"]["in_memory"]
    whole = make("Table", {"path": args["path"], "target": "width", "features": ["length"]})
    assert whole.test == {} and whole.train.size == 3


@pytest.mark.parametrize(
    ("text", "options", "what"),
    [
        ("a,b\n1,2\n3,x\n", {}, ":3: column 'b': expected a finite number, found 'x'; name the columns to learn"),
        ("a,b\n1,2\n\n3,\n", {}, ":4: column 'b': expected a finite number, found an empty cell"),
        ("a,b\nnan,2\n", {"target": "b"}, ":2: column 'a': expected a finite number, found 'nan'"),
        ("a,b\n1,2\n3\n", {}, ":3: column 'b' is missing: the line has 1 of 2 cells"),
        ("a,b\n1,2\n", {"target": "B"}, ":1: there is no column 'B'; did you mean 'b'?"),
        ("a,b\n1,2\n", {"features": ["price"]}, ":1: there is no column 'price'; it has a and b"),
        ("a;b\n1;2\n", {}, ":1: expected columns separated by ',', found ';'"),
        ("a,a\n1,2\n", {}, ":1: expected a name of its own for each column, found 'a' twice"),
        ("", {}, ":1: expected the names of the columns, found an empty line"),
        ("a\n1\n", {}, ": no column is left for features"),
        ("a,b\n", {}, " has no rows"),
        (IRIS, {"target": "kind", "split": "part", "part": "trian"}, ": no row has 'trian' in column 'part'; did"),
        (IRIS, {"target": "kind", "features": ["length"], "classification": True, "classes": ["setsoa", "virginica"]},
         ": column 'kind': there is no class 'setosa'; did you mean 'setsoa'?"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_table_is_told_with_its_place(
    tmp_path: Path, text: str, options: dict[str, Any], what: str
) -> None:
    path = table(tmp_path, text)
    with pytest.raises(DataError) as error:
        Table(path, **{"target": "a", **options})
    assert str(error.value).startswith(f"{path}{what}")


def test_arguments_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Table: split, a column, and part, a value in it, go together"):
        Table(table(tmp_path), "width", split="part")
    with pytest.raises(ValueError, match="classification has one column of classes, found 2"):
        Table(table(tmp_path), ["width", "length"], ["length"], classification=True)


def test_a_file_that_is_not_there_is_named_with_the_nearest(tmp_path: Path) -> None:
    table(tmp_path)
    with pytest.raises(DataError) as error:
        Table(tmp_path / "tabel.csv", "a")
    assert str(error.value) == f"{tmp_path}/tabel.csv: there is no such file; did you mean 'table.csv'?"
    assert error.value.exit_code == 5


def test_arrays_keep_their_types(tmp_path: Path) -> None:
    path = tmp_path / "arrays.npz"
    images = np.arange(24, dtype=np.uint8).reshape(3, 2, 4)
    np.savez(path, x=images, y=np.array([2, 0, 1]), wide=images.astype(">f8"), short=np.zeros(2), label=np.float32(1))
    inputs, targets = tensors_of(Arrays(path)) or ()
    assert inputs.dtype == torch.uint8 and targets.dtype == torch.int64 and Arrays(path)[1][1] == 0
    assert np.array_equal(inputs.numpy(), images)
    assert Arrays(path, input="wide").as_tensors()[0].dtype == torch.float64
    with pytest.raises(DataError, match=r"arrays\.npz: there is no array 'z'; it has x, y, wide, short and label"):
        Arrays(path, "z")
    with pytest.raises(DataError, match=r"expected arrays of one length, found x \(3, 2, 4\) and short \(2,\)"):
        Arrays(path, target="short")
    with pytest.raises(DataError, match=r"expected arrays of one length, found x \(3, 2, 4\) and label \(\)"):
        Arrays(path, target="label")


def test_nothing_in_a_file_of_arrays_is_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "sprung",)

    np.savez(tmp_path / "trap.npz", x=np.array([Trap()], dtype=object), y=np.zeros(1))
    with pytest.raises(DataError, match=r"trap\.npz: expected arrays of numbers: Object arrays cannot be loaded"):
        Arrays(tmp_path / "trap.npz")
    np.savez(tmp_path / "text.npz", x=np.array(["a"]), y=np.zeros(1))
    with pytest.raises(DataError, match=r"text\.npz: x: expected numbers, found <U1"):
        Arrays(tmp_path / "text.npz")
    np.save(tmp_path / "one.npy", np.zeros(1))
    with pytest.raises(DataError, match=r"one\.npy: expected a \.npz file of named arrays, found a single array"):
        Arrays(tmp_path / "one.npy")
    (tmp_path / "broken.npz").write_bytes((tmp_path / "text.npz").read_bytes()[:-30])
    with pytest.raises(DataError, match=r"broken\.npz cannot be read: BadZipFile"):
        Arrays(tmp_path / "broken.npz")
    (tmp_path / "none.npz").write_bytes(b"hello")
    with pytest.raises(DataError, match=r"none\.npz: expected arrays of numbers: "):
        Arrays(tmp_path / "none.npz")
    assert not (tmp_path / "sprung").exists()
