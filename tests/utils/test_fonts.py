"""Texts in pictures are drawn, in any script that an installed font has. No test asks for a font to be installed: one
that matplotlib brings stands in for it."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import matplotlib.font_manager
import pytest
import torch
from matplotlib import get_data_path
from matplotlib.figure import Figure

from data_loader.inspect.report import _drawn
from logger.tensorboard_writer import Summaries
from utils import fonts, plots

ROOT = Path(__file__).resolve().parents[2]
STIX = Path(get_data_path(), "fonts", "ttf", "STIXGeneral.ttf")
ONE, OTHER = "\N{MATHEMATICAL SCRIPT CAPITAL A}", "\N{MATHEMATICAL SCRIPT CAPITAL C}"
"""STIXGeneral has them, DejaVu Sans has not."""
HANGUL = "\N{HANGUL SYLLABLE GA}", "\N{HANGUL SYLLABLE NA}"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """A machine with DejaVu Sans alone until fonts are installed, of which matplotlib's list of fonts knows nothing."""
    manager = matplotlib.font_manager.fontManager
    monkeypatch.setattr(manager, "ttflist", [entry for entry in manager.ttflist if entry.name == "DejaVu Sans"])

    def install(*paths: Path) -> None:
        monkeypatch.setattr(matplotlib.font_manager, "findSystemFonts", lambda: [str(path) for path in paths])
        fonts._fallbacks.cache_clear()
        fonts._suggested.clear()

    install()
    yield install
    fonts._fallbacks.cache_clear()


def confusion(name: str) -> bytes:
    return plots.confusion(torch.eye(2, dtype=torch.int64), [name, "other"])


def curves(name: str) -> bytes:
    figure, file = Figure(), io.BytesIO()
    figure.add_subplot().plot([1, 2], label=name)
    figure.legend()
    fonts.save(figure, file, format="png")
    return file.getvalue()


def figure_of_the_user(name: str) -> bytes:
    figure, got = Figure(), list[bytes]()
    figure.suptitle(name, fontweight="bold")
    Summaries.add_figure(SimpleNamespace(add_png=lambda tag, data, step: got.append(data)), "tag", figure)  # type: ignore[arg-type]
    return got[0]


def sheet(name: str) -> bytes:
    return _drawn([("as read", [torch.zeros(9, 9)])], [name])


EVERY = pytest.mark.parametrize("draw", [confusion, curves, figure_of_the_user, sheet])


@EVERY
def test_a_font_that_has_the_characters_is_found_though_it_was_installed_later(
    draw: Callable[[str], bytes],
    bare: Callable[..., None],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    recwarn: pytest.WarningsRecorder,
) -> None:
    (tmp_path / "damaged.ttf").write_bytes(b"no font")
    bare(tmp_path / "damaged.ttf", shutil.copy(STIX, tmp_path / "new.ttf"))
    assert draw(ONE) != draw(OTHER)
    assert [*caplog.records, *recwarn] == []


@EVERY
def test_without_one_boxes_are_drawn_and_the_package_is_named_once(
    draw: Callable[[str], bytes], caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    first, second = HANGUL
    assert draw(first) == draw(second)
    draw(f"{first}{second}")
    assert [record.getMessage() for record in caplog.records] == [
        f"images show boxes in place of {first}: no installed font has these characters; "
        "install one that does, such as Debian's package fonts-noto-cjk"
    ]
    assert len(recwarn) == 0


def test_several_scripts_name_what_each_takes(caplog: pytest.LogCaptureFixture) -> None:
    confusion(f"\N{KATAKANA LETTER A}{''.join(HANGUL)}\N{CJK UNIFIED IDEOGRAPH-4E00}\N{THAI CHARACTER KO KAI}")
    told = [record.getMessage() for record in caplog.records]
    assert [(line.split(":")[0].rpartition(" of ")[2], line.split()[-1]) for line in told] == [
        ("\N{THAI CHARACTER KO KAI}", "fonts-noto-core"),
        ("\N{KATAKANA LETTER A}, \N{CJK UNIFIED IDEOGRAPH-4E00}, \N{HANGUL SYLLABLE GA}, ...", "fonts-noto-cjk"),
    ]


@pytest.mark.parametrize("draw", [confusion, curves])
def test_what_the_usual_font_has_is_drawn_as_ever(draw: Callable[[str], bytes], bare: Callable[..., None]) -> None:
    name = "T-shirt, \N{CYRILLIC CAPITAL LETTER PE}"
    alone = draw(name)
    bare(STIX)
    assert draw(name) == alone


def test_the_sheet_draws_more_than_latin() -> None:
    assert sheet("\N{CYRILLIC CAPITAL LETTER PE}") != sheet("\N{CYRILLIC CAPITAL LETTER BE}")


def test_a_dollar_in_the_name_of_a_class_is_a_dollar() -> None:
    assert confusion(r"$\nothing$") != confusion(r"$\never$")


def test_every_picture_is_written_here() -> None:
    own = (ROOT / "base" / "manifest.txt").read_text(encoding="utf-8").split()
    assert [name for name in own if ".savefig(" in (ROOT / name).read_text(encoding="utf-8")] == ["utils/fonts.py"]
