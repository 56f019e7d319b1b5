"""The ten garments of Fashion-MNIST as sketches; each draws ``n`` of them at once on 28x28 pixels.

A sketch is put together from parts: a body with its widths, two bars for sleeves, a neckline, a row of
buttons. Coordinates are in pixels, x to the right, y downwards, the origin in the middle of the garment.

The same bits on every machine: randomness is the raw output of Philox, and the arithmetic is only what IEEE 754 rounds
in one way (float32 ``+ - * /``, square root, floor, minimum, maximum). No sine, no matrix product, no sum of many.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]  # float32 (n, 28 or 1, 28 or 1): one number per sample, row, column or pixel
Number = Array | float
Pair = tuple[Number, Number]
Triple = tuple[Number, Number, Number]

SIDE = 28
PIXELS = np.arange(SIDE, dtype=np.float32) - np.float32((SIDE - 1) / 2)
TOP, BOTTOM = -12.5, 12.5


class Dice:
    """A stream of random numbers for ``n`` samples, named by integers: the same names, the same numbers."""

    def __init__(self, n: int, seed: int, *stream: int) -> None:
        self.n = n
        assert len(stream) <= 3, "Philox has four counter words, and counts up the lowest"
        counter = [0, *stream] + [0] * (3 - len(stream))
        self._bits = np.random.Philox(key=[seed % 2**64, 0], counter=counter)

    def __call__(self, low: Number, high: Number) -> Array:
        """One uniform number in [low, high) per sample."""
        unit = (self._bits.random_raw(self.n) >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
        return low + (high - low) * unit.reshape(-1, 1, 1)

    def chance(self, probability: float) -> Array:
        """1 with this probability, else 0, per sample."""
        return (self(0, 1) < probability).astype(np.float32)

    def grid(self, rows: int, columns: int) -> Array:
        """(n, rows, columns) numbers in [-1, 1], of 8 bits each."""
        size = self.n * rows * columns
        octets = self._bits.random_raw((size + 7) // 8).astype("<u8").view(np.uint8)[:size]
        return octets.reshape(self.n, rows, columns).astype(np.float32) * np.float32(2 / 255) - np.float32(1)

    def order(self, size: int) -> NDArray[np.int64]:
        """A permutation of ``size`` things."""
        return np.argsort(self._bits.random_raw(size), kind="stable")


def solid(inside: Array) -> Array:
    """How much of a pixel is covered, from its distance inside the edge: 0 to 1, half on the edge itself."""
    return np.clip(inside + 0.5, 0, 1)


def curve(t: Array, *knots: Pair) -> Array:
    """A smooth curve through knots (position, value), flat before the first and after the last."""
    (here, value), *rest = knots
    result: Number = value
    for there, goal in rest:
        part = np.clip((t - here) / (there - here), 0, 1)
        result = result + part * part * (3 - 2 * part) * (goal - value)
        here, value = there, goal
    return np.asarray(result, dtype=np.float32)


def bar(x: Array, y: Array, start: Pair, end: Pair, width: Number, end_width: Number) -> Array:
    """A straight tapering bar between two points, its widths counted from the middle line."""
    (x0, y0), (x1, y1) = start, end
    dx, dy = x1 - x0, y1 - y0
    length = np.sqrt(np.asarray(dx * dx + dy * dy, dtype=np.float32))
    dx, dy = dx / length, dy / length
    along = (x - x0) * dx + (y - y0) * dy
    across = np.abs((x - x0) * dy - (y - y0) * dx)
    half = width + along * ((end_width - width) / length)
    return solid(np.minimum(np.minimum(along, length - along), half - across))


def hoop(x: Array, y: Array, middle: Number, base: Number, span: Array, rise: Array, half: Array) -> Array:
    """A band bent as a parabola over ``base``: a handle, a strap over a foot."""
    u = (x - middle) / span
    steep = u * (2 * rise / span)
    off = np.abs(y - base + rise * (1 - u * u)) / np.sqrt(1 + steep * steep)
    return solid(np.minimum(half - off, base - y))


def wave(t: Array) -> Array:
    """A triangle wave of period 1 between -1 and 1."""
    triangle: Array = np.abs(t - np.floor(t) - 0.5) * 4 - 1
    return triangle


def blur(grid: Array) -> Array:
    """(n, k, k) numbers stretched smoothly over the picture: soft folds for a small k, a print for a larger one."""
    place = np.arange(SIDE, dtype=np.float32) * np.float32((grid.shape[1] - 1) / SIDE)
    part = place - np.floor(place)
    part = part * part * (3 - 2 * part)
    low = place.astype(np.intp)
    rows = grid[:, low] * (1 - part)[:, None] + grid[:, low + 1] * part[:, None]
    both: Array = rows[:, :, low] * (1 - part) + rows[:, :, low + 1] * part
    return both


class Sheet:
    """``n`` black pictures, each with its own place, size and lean for the garment about to be drawn."""

    def __init__(self, dice: Dice, shoe: bool = False) -> None:
        self.dice = dice
        size, lean = dice(0.8, 1.04), dice(-0.1, 0.1)
        x = (PIXELS - dice(-2, 2)) / size
        y = (PIXELS[:, None] - dice(-2, 2)) / size
        if shoe:
            self.x, self.y = x * (1 - 2 * dice.chance(0.3)), y + lean * x
        else:
            self.x, self.y = x + lean * y, y
        self.a = np.abs(self.x)  # distance from the middle line: what is drawn with it comes in pairs
        self.tone = dice(0.3, 0.95)
        self.picture = np.zeros((dice.n, SIDE, SIDE), dtype=np.float32)

    def paint(self, cover: Array, shade: Number) -> None:
        self.picture += cover * (shade - self.picture)

    def cloth(self, stripes: float = 0.15, checks: float = 0.05, prints: float = 0.15) -> Array:
        """The garment's own tone with folds, and with the given chances of stripes, checks and an all-over print."""
        dice = self.dice
        folds = blur(dice.grid(5, 5)) * dice(0.05, 0.2)
        pattern = blur(dice.grid(19, 19)) * (dice.chance(prints) * dice(0.2, 0.6))
        period, phase = dice(2.5, 7), dice(0, 1)
        checked = dice.chance(checks)
        across = np.maximum(dice.chance(stripes), checked) * dice(0.15, 0.45)
        lines = np.clip(wave(self.y / period + phase) * 2 - dice(0, 2), -1, 0.5) * across
        lines = lines + np.minimum(wave(self.x / period + phase), 0.5) * (checked * dice(0.15, 0.35))
        dyed: Array = self.tone * (1 + folds + pattern + lines)
        return dyed

    def detail(self, contrast: float = 0.5) -> Array:
        """A tone for seams, buttons and prints: lighter or darker than the cloth, sometimes hardly either."""
        dark = self.tone * (1 - self.dice(0.1, 1) * contrast)
        light = self.tone + (1 - self.tone) * self.dice(0.2, 1)
        return np.where(self.dice.chance(0.6) > 0, dark, light)

    def develop(self) -> NDArray[np.uint8]:
        """The finished pictures: light, grain, then whole numbers from 0 to 255."""
        grain = self.dice.grid(SIDE, SIDE) * self.dice(0.02, 0.1)
        levels: Array = np.clip(self.picture * (1 + grain), 0, 1) * 255
        return levels.astype(np.uint8)


# ---- what several garments share -------------------------------------------------------------------------------------


def upper(s: Sheet, cloth: Array, widths: Triple, bottom: Array, sleeve: Triple) -> Array:
    """A body with two sleeves; returns the body's cover.

    ``widths``: shoulder, waist and hem, from the middle line. ``sleeve``: length, step outwards per step down, cuff.
    """
    (shoulder, waist, hem), (length, spread, cuff) = widths, sleeve
    y, a = s.y, s.a
    chest = (TOP + 7, (shoulder + waist) / 2)
    half = curve(y, (TOP, shoulder * 0.5), (TOP + 2.5, shoulder), chest, (0, waist), (bottom, hem))
    joint, armpit = (shoulder - 1.6, TOP + 1.5), TOP + 4
    down = length / np.sqrt(1 + spread * spread)
    arm = bar(a, y, joint, (joint[0] + spread * down, joint[1] + down), 2.4, cuff)
    s.paint(arm, cloth * s.dice(0.8, 1))
    s.paint(arm * solid(np.minimum(half + 0.9 - a, y - armpit)), s.tone * s.dice(0, 0.5))
    body = solid(np.minimum(half - a, np.minimum(y - TOP, bottom - y - s.dice(-0.02, 0.03) * a * a)))
    s.paint(body, cloth)
    return body


def neckline(s: Sheet, width: Array, depth: Array, pointed: Array, inside: Array) -> None:
    """Cut a neck, round or pointed, with the back of the collar (``inside``) seen through it."""
    part = s.a / width
    line = depth * (1 - part * (pointed + (1 - pointed) * part))
    below = s.y - TOP
    s.paint(solid(np.minimum(np.minimum(line - below, below + 0.6), width - s.a)), inside)


def opening(s: Sheet, body: Array, top: Number, tone: Array, strength: Array) -> None:
    """The front edge and its buttons, from ``top`` downwards."""
    aside = s.x - s.dice(-0.6, 0.6)
    below = solid(s.y - top) * body * strength
    s.paint(solid(0.1 - np.abs(aside)) * below, tone)
    button = np.minimum(wave(s.y / s.dice(3, 5) + s.dice(0, 1)) * 2 - 0.5, 0.4 - np.abs(aside - 0.8))
    s.paint(solid(button) * below, s.detail(0.8))


def collar(s: Sheet, width: Array, depth: Array, thick: Array, shown: Array) -> None:
    """Two flaps from the neck towards the middle."""
    flap = bar(s.a, s.y, (width, TOP), (width * 0.15, TOP + depth), thick, thick * 0.6)
    s.paint(flap * shown, s.detail(0.4))


def emblem(s: Sheet, body: Array, chance: float) -> None:
    """Something printed on the chest."""
    dice = s.dice
    wide, high = dice(1.2, 4), dice(0.8, 4)
    box = np.minimum(wide - np.abs(s.x), high - np.abs(s.y - dice(-6, -2)))
    writing = solid(blur(dice.grid(15, 15)) * 4)
    s.paint(solid(box) * body * writing * dice.chance(chance), s.detail(0.9))


# ---- the ten ---------------------------------------------------------------------------------------------------------


def t_shirt(s: Sheet) -> None:
    d = s.dice
    bare = d.chance(0.12)
    waist = d(5, 7)
    widths = d(6, 7.8) - bare * 2, waist, waist + d(-0.5, 1.2)
    body = upper(s, s.cloth(), widths, d(9, 12.5), (d(4.5, 9) * (1 - bare) + 1.5 * bare, d(0.35, 1.1), d(2, 2.8)))
    neckline(s, d(2.4, 3.8), d(1.5, 3.5) + bare * 2, d(0, 0.7), s.tone * d(0, 0.5))
    opening(s, body, d(-10, -8), s.detail(), d.chance(0.12) * d(0.2, 0.8))
    emblem(s, body, 0.4)


def trouser(s: Sheet) -> None:
    d = s.dice
    cloth = s.cloth(stripes=0.03)
    hips, crotch, bottom = d(3.2, 5), d(-6.5, -3), d(9, 12.5)
    ankle, stance = d(1.2, 2.2), d(0, 2)
    middle = curve(s.y, (TOP, hips * 0.5), (crotch, hips * 0.5 + 0.3), (bottom, ankle + 0.4 + stance))
    half = curve(s.y, (TOP, hips * 0.5 - 0.2), (crotch, hips * 0.5 + 0.3), (bottom, ankle))
    above = np.minimum(s.y - TOP, bottom - s.y)
    legs = solid(np.minimum(half - np.abs(s.a - middle), above))
    seat = solid(np.minimum(middle + half - s.a, np.minimum(above, crotch - s.y)))
    s.paint(legs, cloth)
    s.paint(seat, cloth)
    s.paint(seat * solid(d(0.6, 1.6) - (s.y - TOP)), s.detail(0.4))
    s.paint(seat * solid(0.2 - s.a), s.detail(0.4))
    s.paint(legs * solid(0.2 - np.abs(s.a - middle)) * d.chance(0.3), s.detail(0.4))


def pullover(s: Sheet) -> None:
    d = s.dice
    waist, bottom = d(5.2, 7), d(9, 12)
    widths = d(6, 7.6), waist, waist + d(-0.8, 0.8)
    body = upper(s, s.cloth(stripes=0.25), widths, bottom, (d(17, 22), d(0.08, 0.26), d(1.3, 2)))
    neckline(s, d(2, 3.4), d(1, 2.8), d(0, 0.5), s.tone * d(0, 0.5))
    opening(s, body, d(-10, -6), s.detail(), d.chance(0.12) * d(0.2, 0.8))
    s.paint(body * solid(s.y - bottom + d(1, 2.2)) * d.chance(0.6), s.detail(0.3))
    emblem(s, body, 0.25)


def dress(s: Sheet) -> None:
    d = s.dice
    bare = d.chance(0.5)
    waist = d(2.8, 4.4)
    widths = d(3.4, 5) - bare * 0.8, waist, waist + d(0, 5) * d(0.2, 1)
    sleeve = bare * 1.2 + (1 - bare) * d(3, 18), d(0.15, 0.5), d(1.1, 1.8)
    body = upper(s, s.cloth(), widths, d(11, 12.8), sleeve)
    neckline(s, d(1.6, 2.8), d(1.5, 4), d(0, 1), s.tone * d(0, 0.4))
    belt = d(-3, 0)
    s.paint(solid(d(0.1, 0.8) - np.abs(s.y - belt)) * solid(waist - s.a) * d.chance(0.35), s.detail(0.6))
    pleats = np.maximum(wave(s.x / d(2, 4)), 0) * (d.chance(0.4) * d(0.1, 0.5))
    s.paint(body * solid(s.y - belt) * pleats, s.tone * 0.3)


def coat(s: Sheet) -> None:
    d = s.dice
    waist = d(5, 6.8)
    widths = d(5.8, 7.4), waist, waist + d(-0.2, 1.8)
    body = upper(s, s.cloth(stripes=0.04), widths, d(10.5, 12.8), (d(17, 22), d(0.08, 0.24), d(1.5, 2.3)))
    width, depth = d(2, 3.4), d(3, 7)
    neckline(s, width, depth * d(0.4, 0.9), d(0.5, 1), s.tone * d(0.1, 0.6))
    opening(s, body, TOP + depth * 0.8, s.detail(0.8), d(0.3, 1))
    collar(s, width + 0.5, depth, d(0.9, 1.6), d(0.2, 1))
    pocket = np.minimum(np.minimum(0.35 - np.abs(s.y - d(2, 6)), s.a - 2), 4.6 - s.a)
    s.paint(solid(pocket) * d.chance(0.6), s.detail(0.6))


def shirt(s: Sheet) -> None:
    d = s.dice
    short = d.chance(0.35)
    waist = d(4.8, 6.6)
    widths = d(5.8, 7.4), waist, waist + d(-0.6, 1)
    sleeve = d(17, 21) - short * d(10.5, 15), d(0.1, 0.28) + short * d(0.1, 0.5), d(1.3, 2) + short * 0.7
    body = upper(s, s.cloth(stripes=0.1, checks=0.2, prints=0.25), widths, d(9.5, 12.5), sleeve)
    width = d(1.8, 3.2)
    neckline(s, width, d(1.2, 3.2), d(0.3, 1), s.tone * d(0, 0.6))
    collar(s, width + 0.4, d(2, 3.6), d(0.6, 1), d.chance(0.85) * d(0.3, 1))
    opening(s, body, d(-10, -8.5), s.detail(0.6), d.chance(0.85) * d(0.2, 0.9))


def shoe(s: Sheet, top: Array, floor: Array, sole: Array, heel: Number) -> Array:
    """An upper under the line ``top`` on a sole of its own tone, the back ``heel`` high; returns the upper's cover."""
    ground = floor - curve(s.x, (-5, 0.0), (7, heel))
    length = 12.6 - s.a
    cover = solid(np.minimum(np.minimum(s.y - top, ground - s.y), length))
    s.paint(cover, s.cloth(stripes=0, checks=0, prints=0.1))
    under = np.minimum(np.minimum(s.y - ground + sole, s.y - top), np.minimum(ground - s.y, length))
    s.paint(solid(under), s.detail(0.9))
    return cover


def laces(s: Sheet, low: Pair, high: Pair, shown: Array) -> None:
    """Short strokes across the instep, between two points of it."""
    along = bar(s.x, s.y, low, high, 1, 1)
    s.paint(along * solid(wave(s.x / s.dice(1.8, 2.8)) * 2) * shown, s.detail(0.9))


def sandal(s: Sheet) -> None:
    d = s.dice
    x, y = s.x, s.y
    heel = d.chance(0.6) * d(0.5, 10)
    floor = d(3, 5) + heel * 0.4
    ground, back = floor - curve(x, (-5, 0.0), (7, heel)), floor - heel
    thick, strap = d(0.6, 2), d(0.35, 0.9)
    ankle = back - d(3, 8)
    leather = s.detail(0.6)
    s.paint(solid(np.minimum(np.minimum(y - ground, ground + thick - y), 12.4 - s.a)), leather)
    s.paint(bar(x, y, (10.4, back), (d(9.5, 11.5), floor + thick), 1.7, d(0.5, 1.6)) * (heel > 1.5), leather)
    toes, wide, rise = d(-8, -5.5), d(2.5, 4.5), d(2, 4)
    s.paint(hoop(x, y, toes, ground, wide, rise, strap + d(0, 2) * d.chance(0.4)), s.tone)
    s.paint(hoop(x, y, toes + d(2, 5), ground, wide, rise + d(0, 1), strap) * d.chance(0.5), s.tone)
    closed = d.chance(0.8)
    s.paint(bar(x, y, (toes, floor - rise), (d(6, 9), ankle), strap, strap) * (closed * d.chance(0.6)), s.tone)
    s.paint(bar(x, y, (12, back), (d(9.5, 11), ankle), d(0.8, 2.2), strap) * closed, s.tone)
    s.paint(hoop(x, y, d(7.5, 8.5), ankle + d(1, 3), d(2.5, 4), d(1, 2), strap) * (closed * d.chance(0.7)), s.tone)
    s.paint(bar(x, y, (d(-1, 3), floor - heel * 0.4), (9, ankle + 1), strap, strap) * d.chance(0.5), s.tone)


def sneaker(s: Sheet) -> None:
    d = s.dice
    ankle, toe, floor = d(-4.5, -1) - d.chance(0.12) * d(1, 5), d(1, 2.6), d(4.5, 6)
    tongue = d(0, 4)
    rim = (tongue, ankle), (tongue + 4, ankle + d(0.4, 1.6)), (11.3, ankle - d(-0.5, 0.8)), (13, ankle + 2.5)
    top = curve(s.x, (-13, floor), (-9.5, toe), (-5, toe - 0.8), *rim)
    body = shoe(s, top, floor, d(1, 2.4), d(0, 0.6))
    laces(s, (-5, toe + 0.6), (tongue - 0.3, ankle + 1.2), d.chance(0.75))
    stripe = bar(s.x, s.y, (d(-4, 2), floor - d(2, 3)), (d(4, 8), ankle + d(1.5, 3)), 0.7, 0.5)
    s.paint(stripe * d.chance(0.5), s.detail(0.8))
    s.paint(body * solid(0.3 - np.abs(s.x + 8 + (s.y - toe) * 0.5)) * d.chance(0.4), s.detail(0.6))


def bag(s: Sheet) -> None:
    d = s.dice
    top, bottom = d(-6, 1), d(7, 11)
    wide, corner = d(8, 12.4), d(0.6, 3)
    half = curve(s.y, (top, d(7, 12)), (bottom - corner, wide), (bottom + 1, wide - corner))
    handle = hoop(s.x, s.y, 0, top + 0.5, d(3, 8), d(2, 7), d(0.4, 0.9))
    s.paint(handle * d.chance(0.8), s.tone * d(0.6, 1.2))
    box = solid(np.minimum(half - s.a, np.minimum(s.y - top, bottom - s.y)))
    s.paint(box, s.cloth(prints=0.25))
    flap = solid(top + d(2, 6) - s.a * d(0, 0.4) - s.y)
    s.paint(box * flap * d.chance(0.6), s.tone * d(0.6, 1.3))
    s.paint(solid(d(0.6, 1.2) - np.maximum(s.a, np.abs(s.y - top - d(2, 4)))) * d.chance(0.6), s.detail(0.9))


def ankle_boot(s: Sheet) -> None:
    d = s.dice
    heel = d.chance(0.5) * d(1, 7)
    shaft, toe, floor = d(-11.5, -4), d(3, 5), d(7.5, 10)
    front = d(-2, 4)
    rim = (front - d(0, 1.5), shaft + 0.5), (11, shaft + d(-1, 1)), (12.8, shaft + 2)
    top = curve(s.x, (-13, floor - 0.5), (-9.5, toe), (front - 4, toe - 2.5), *rim)
    shoe(s, top, floor, d(0.6, 2.2), heel)
    block = bar(s.x, s.y, (10, floor - heel - 0.6), (d(9.5, 10.8), floor), 2.6, d(0.7, 2.4))
    s.paint(block * (heel > 0), s.detail(0.9))
    laces(s, (front - 4, toe - 1.5), (front, shaft + 2), d.chance(0.4))
    gusset = np.minimum(np.minimum(d(0.6, 1.5) - np.abs(s.x - front - 4), s.y - shaft - 0.5), shaft + 7 - s.y)
    s.paint(solid(gusset) * d.chance(0.3), s.detail(0.6))
    cuff = np.minimum(0.3 - np.abs(s.y - shaft - d(1, 3)), np.minimum(s.x - front, 12.2 - s.x))
    s.paint(solid(cuff) * d.chance(0.3), s.detail(0.6))


SKETCHES: dict[str, Callable[[Sheet], None]] = {
    "T-shirt/top": t_shirt,
    "Trouser": trouser,
    "Pullover": pullover,
    "Dress": dress,
    "Coat": coat,
    "Sandal": sandal,
    "Shirt": shirt,
    "Sneaker": sneaker,
    "Bag": bag,
    "Ankle boot": ankle_boot,
}
FOOTWEAR = (sandal, sneaker, ankle_boot)


def draw(name: str, n: int, seed: int, *stream: int) -> NDArray[np.uint8]:
    """(n, 28, 28) pictures of one garment."""
    sketch = SKETCHES[name]
    sheet = Sheet(Dice(n, seed, *stream), shoe=sketch in FOOTWEAR)
    sketch(sheet)
    return sheet.develop()
