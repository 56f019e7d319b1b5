from __future__ import annotations

from pathlib import Path

import pytest

from tests.small_run import write_garments


@pytest.fixture(scope="session")
def garments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with Fashion-MNIST's files: 320 training and 96 test images that a small network learns in a few steps."""
    root = tmp_path_factory.mktemp("garments")
    write_garments(root)
    return root
