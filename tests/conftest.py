"""For every test: one thread, no network, and the logging of the program under test taken down again."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Before torch is imported, and for the processes that tests start: bits are equal for one number of threads only.
os.environ["OMP_NUM_THREADS"] = "1"


LONGEST = (
    "test_readme.py",
    "test_template_projects.py",
    "test_no_way_in.py",
    "test_command_line.py",
    "test_kill.py",
    "test_resume.py",
    "test_pictures.py",
    "test_trainers.py",
    "test_new_project.py",
    "test_crash.py",
    "test_properties.py",
    "test_growth.py",
    "test_config_commands.py",
    "test_tampered.py",
    "test_benchmarks.py",
    "test_synthetic.py",
    "test_rescheduling.py",
    "test_reading.py",
)
"""The files that take longest, by processor time. They start first, so that none of them runs alone at the end."""


def pytest_configure(config: pytest.Config) -> None:
    config.option.loadscopereorder = False  # pytest-xdist would start the files with the most tests first


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def garments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with Fashion-MNIST's files: 320 training and 96 test images that a small network learns in a few steps."""
    from tests.small_run import write_garments

    root = tmp_path_factory.mktemp("garments")
    write_garments(root)
    return root


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test does is what a machine without a network does; other processes on this one can be reached."""
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"tests have no network: {address[0]}")
        connect(self, address)

    def guarded_look_up(host: Any, *args: Any, **options: Any) -> Any:
        if host not in ("127.0.0.1", "::1", "localhost", None):
            raise socket.gaierror(socket.EAI_NONAME, f"tests have no network: {host}")
        return look_up(host, *args, **options)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_look_up)


@pytest.fixture(autouse=True)
def logging_taken_down() -> Iterator[None]:
    root = logging.getLogger()
    level = root.level
    yield
    root.setLevel(level)
    for handler in root.handlers[:]:
        if type(handler).__module__.startswith("logger."):
            root.removeHandler(handler)
            handler.close()
    logging.captureWarnings(False)
