"""Images in a folder for each class."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torchvision.datasets import ImageFolder as TorchvisionImageFolder
from torchvision.datasets.folder import default_loader

from base.registry import DATASETS


@DATASETS.register
class ImageFolder(TorchvisionImageFolder):  # type: ignore[misc]
    """torchvision's, but what is hidden counts for nothing: `.ipynb_checkpoints` is no class, `._1.png` no image.

    A sample is (PIL image, class number). A class folder without an image is a class all the same.
    """

    def __init__(
        self,
        root: str | Path,
        transform: Callable[..., Any] | None = None,
        target_transform: Callable[..., Any] | None = None,
        loader: Callable[[str], Any] = default_loader,
        is_valid_file: Callable[[str], bool] | None = None,
        allow_empty: bool = True,
    ) -> None:
        super().__init__(root, transform, target_transform, loader, is_valid_file, allow_empty)

    def find_classes(self, directory: str | Path) -> tuple[list[str], dict[str, int]]:
        """FileNotFoundError if there is no class folder."""
        names = [name for name in super().find_classes(directory)[0] if not name.startswith(".")]
        if not names:
            raise FileNotFoundError(f"{directory}: there is no folder for a class in it")
        return names, {name: number for number, name in enumerate(names)}

    @staticmethod
    def make_dataset(directory: str | Path, *args: Any, **options: Any) -> list[tuple[str, int]]:
        """(path, class number) of every image."""
        found = TorchvisionImageFolder.make_dataset(directory, *args, **options)
        parts = (Path(path).relative_to(directory).parts for path, _ in found)
        return [one for one, names in zip(found, parts, strict=True) if not any(name.startswith(".") for name in names)]
