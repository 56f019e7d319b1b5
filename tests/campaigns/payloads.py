"""Every payload in every file of a run: the long form of a test of tests/base/test_no_way_in.py.

python -m pytest tests/campaigns/payloads.py
"""

from __future__ import annotations

from pathlib import Path

from tests.base.test_no_way_in import Watch, marker, run, trained, try_payloads, watch

__all__ = ["marker", "run", "trained", "watch"]  # fixtures


def test_every_payload_in_every_file_of_a_run(run: Path, marker: Path, watch: Watch, tmp_path: Path) -> None:
    try_payloads(run, marker, watch, tmp_path / "work", every=True)
