"""Fonts that have the characters of a text, whatever its script. Every figure is written through here."""

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
"""How Unicode's names of their characters begin."""
REGULAR = {400, "normal", "regular", "book"}
FEW = 3
_said: set[str] = set()
"""Packages that were named."""


def save(figure: Figure, target: Any, **options: Any) -> None:
    """`figure.savefig`, each text with fonts that have its characters behind the one that it asks for."""
    from matplotlib.text import Text

    texts: list[Text] = figure.findobj(Text)
    families = [entry.name for entry in fallbacks("".join(text.get_text() for text in texts))]
    for text in texts if families else ():
        text.set_fontfamily([*dict.fromkeys([*text.get_fontfamily(), *families])])
    with _hushed():
        figure.savefig(target, **options)


@contextmanager
def _hushed() -> Iterator[None]:
    """matplotlib says at each drawing which glyph is missing, and of a fallback that it has no bold face."""
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
    """Pillow draws a text with a single font: the one that has most of it."""
    from matplotlib.font_manager import FontProperties, findfont
    from PIL import ImageFont

    if text.isascii():
        return ImageFont.load_default(size=size)
    paths = [findfont(FontProperties()), *(entry.fname for entry in fallbacks(text))]
    return ImageFont.truetype(max(paths, key=lambda path: len(_covered(path, text))), size)


def fallbacks(text: str) -> tuple[FontEntry, ...]:
    """Installed fonts that have what matplotlib's own lacks, as few as will do. What none has is logged, once."""
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
    _say_once(missing)
    return tuple(found)


def _installed() -> list[FontEntry]:
    """Those for running text first. matplotlib keeps a list of fonts on the disk, which may be older than a font."""
    from matplotlib.font_manager import findSystemFonts, fontManager

    for path in sorted({*findSystemFonts()} - {entry.fname for entry in fontManager.ttflist}):
        try:
            fontManager.addfont(path)
        except Exception as error:  # whatever is wrong with some font on this machine
            log.debug("%s cannot be read as a font: %s", path, error)
    usable = [entry for entry in fontManager.ttflist if not entry.name.startswith("Last Resort")]  # all boxes
    return sorted(usable, key=_unsuitability)


def _unsuitability(entry: FontEntry) -> tuple[bool, bool, bool, str]:
    plain = ("Sans" in entry.name or "Gothic" in entry.name) and "Mono" not in entry.name
    return entry.style != "normal", entry.weight not in REGULAR, not plain, entry.name


def _covered(path: str, characters: Iterable[str]) -> frozenset[str]:
    """Those that the font has a shape for."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(str(path))
    except (OSError, RuntimeError):  # damaged, or made of bitmaps, as fonts of emoji are
        return frozenset()
    known = font.get_charmap()
    return frozenset(character for character in characters if ord(character) in known)


def _package_for(character: str) -> str:
    script = unicodedata.name(character, "").replace("-", " ").partition(" ")[0]
    return "fonts-noto-cjk" if script in CJK else "fonts-noto-core"


def _say_once(missing: Iterable[str]) -> None:
    by_package: dict[str, list[str]] = {}
    for character in sorted(missing):
        by_package.setdefault(_package_for(character), []).append(character)
    for package, characters in by_package.items():
        if package not in _said:
            _said.add(package)
            some = ", ".join(characters[:FEW]) + ", ..." * (len(characters) > FEW)
            log.warning(
                "pictures show boxes in place of %s: no installed font has these characters; "
                "install one that does, such as Debian's package %s",
                some,
                package,
            )
