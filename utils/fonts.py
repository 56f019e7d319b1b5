"""Finds fonts for texts in any script. All figures are saved with `save`."""

from __future__ import annotations

import functools
import logging
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontEntry
    from PIL.ImageFont import FreeTypeFont, ImageFont

log = logging.getLogger(__name__)

CJK = {"BOPOMOFO", "CJK", "FULLWIDTH", "HALFWIDTH", "HANGUL", "HIRAGANA", "IDEOGRAPHIC", "KATAKANA"}
"""The first words of the Unicode names of these characters."""
REGULAR = {400, "normal", "regular", "book"}
FEW = 3
_suggested: set[str] = set()
"""Packages that were already suggested in the log."""


def save(figure: Figure, target: Any, **options: Any) -> None:
    """`figure.savefig`, with fallback fonts for characters that a text's own font lacks."""
    from matplotlib.text import Text

    texts: list[Text] = figure.findobj(Text)
    families = [entry.name for entry in fallbacks("".join(text.get_text() for text in texts))]
    for text in texts if families else ():
        text.set_fontfamily([*dict.fromkeys([*text.get_fontfamily(), *families])])
    with _without_font_warnings():
        figure.savefig(target, **options)


@contextmanager
def _without_font_warnings() -> Iterator[None]:
    """At every drawing, matplotlib would warn of missing glyphs, and of fallback fonts without a bold face."""
    finder = logging.getLogger("matplotlib.font_manager")
    level = finder.level
    finder.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
            yield
    finally:
        finder.setLevel(level)


def pillow_font(text: str, size: int) -> FreeTypeFont | ImageFont:
    """The font that has the most characters of the text, because Pillow draws a text with a single font."""
    from matplotlib.font_manager import FontProperties, findfont
    from PIL import ImageFont

    if text.isascii():
        return ImageFont.load_default(size=size)
    paths = [findfont(FontProperties()), *(entry.fname for entry in fallbacks(text))]
    return ImageFont.truetype(max(paths, key=lambda path: len(_covered(path, text))), size)


def fallbacks(text: str) -> tuple[FontEntry, ...]:
    """A small set of installed fonts with the characters that matplotlib's own font lacks. Logs once which characters
    no font has."""
    return _fallbacks(frozenset(filter(str.isprintable, text)))


@functools.cache
def _fallbacks(characters: frozenset[str]) -> tuple[FontEntry, ...]:
    from matplotlib.font_manager import FontProperties, findfont

    missing = characters - _covered(findfont(FontProperties()), characters)
    candidates = [(entry, _covered(entry.fname, missing)) for entry in _installed()] if missing else []
    found = []
    while missing:
        best, covered = max(candidates, key=lambda candidate: len(missing & candidate[1]))
        if not missing & covered:
            break
        found.append(best)
        missing -= covered
    _log_missing_once(missing)
    return tuple(found)


def _installed() -> list[FontEntry]:
    """Installed fonts, those for running text first. Adds fonts that are newer than matplotlib's list on the disk."""
    from matplotlib.font_manager import findSystemFonts, fontManager

    for path in sorted({*findSystemFonts()} - {entry.fname for entry in fontManager.ttflist}):
        try:
            fontManager.addfont(path)
        except Exception as error:  # a damaged font must not stop the program
            log.debug("%s cannot be read as a font: %s", path, error)
    usable = [entry for entry in fontManager.ttflist if not entry.name.startswith("Last Resort")]  # all boxes
    return sorted(usable, key=_unsuitability)


def _unsuitability(entry: FontEntry) -> tuple[bool, bool, bool, str]:
    plain = ("Sans" in entry.name or "Gothic" in entry.name) and "Mono" not in entry.name
    return entry.style != "normal", entry.weight not in REGULAR, not plain, entry.name


def _covered(path: str, characters: Iterable[str]) -> frozenset[str]:
    """The characters for which the font has a glyph."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(str(path))
    except (OSError, RuntimeError):  # damaged, or a bitmap font, such as emoji fonts
        return frozenset()
    known = font.get_charmap()
    return frozenset(character for character in characters if ord(character) in known)


def _package_for(character: str) -> str:
    script = unicodedata.name(character, "").replace("-", " ").partition(" ")[0]
    return "fonts-noto-cjk" if script in CJK else "fonts-noto-core"


def _log_missing_once(missing: Iterable[str]) -> None:
    by_package: dict[str, list[str]] = {}
    for character in sorted(missing):
        by_package.setdefault(_package_for(character), []).append(character)
    for package, characters in by_package.items():
        if package not in _suggested:
            _suggested.add(package)
            some = ", ".join(characters[:FEW]) + ", ..." * (len(characters) > FEW)
            log.warning(
                "images show boxes in place of %s: no installed font has these characters; "
                "install one that does, such as Debian's package %s",
                some,
                package,
            )
