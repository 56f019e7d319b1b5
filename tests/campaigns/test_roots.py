"""`make test-roots`: where it takes packages from, and what it says where it cannot run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.campaigns import roots

MODERN = """\
Types: deb
URIs: http://one.example/debian
Suites: stable stable-updates
Components: main

Types: deb
URIs: http://one.example/debian-security
Suites: stable-security
Components: main

Types: deb-src
URIs: http://source.example/debian
Components: main
"""


def test_the_mirror_is_the_machines_own(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    assert list(roots.mirrors(tmp_path)) == []
    (tmp_path / "sources.list.d" / "debian.sources").write_text(MODERN)
    assert list(roots.mirrors(tmp_path)) == ["http://one.example/debian"]
    (tmp_path / "sources.list").write_text(
        "# deb http://no.example/debian stable main\n"
        "deb [signed-by=/a.gpg] https://two.example/debian/ stable contrib main\n"
        "deb https://no.example/debian-security stable-security main\n"
    )
    assert list(roots.mirrors(tmp_path)) == ["https://two.example/debian/", "http://one.example/debian"]


def test_only_what_reaches_packages_is_passed_on() -> None:
    here = {"PIP_INDEX_URL": "a", "https_proxy": "b", "HTTP_PROXY": "c", "PYTHONPATH": "/x", "OMP_NUM_THREADS": "1"}
    passed = roots.environment(here)
    assert passed.keys() == {"PIP_INDEX_URL", "https_proxy", "HTTP_PROXY", "HOME", "LANG", "PATH"}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere another reason comes first")
def test_it_says_why_it_cannot_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert roots.what_is_missing() == "it needs Linux and root, for chroot"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert roots.what_is_missing() == "debootstrap is not installed: apt-get install debootstrap"


@pytest.mark.skipif(sys.platform == "win32", reason="neither make nor chroot")
def test_its_exit_status_is_1_where_it_cannot_run(tmp_path: Path) -> None:
    command = [sys.executable, "tests/campaigns/roots.py"]
    done = subprocess.run(
        command, cwd=roots.ROOT, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and done.stderr.startswith("make test-roots cannot run here: ")
