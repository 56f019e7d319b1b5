"""Draws docs/images/synthetic_fashion.png, with a row of SyntheticFashion samples for each class.

python -m tools.draw_synthetic_grid
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from data_loader.synthetic.fashion import SyntheticFashion

COLUMNS, SCALE, GAP, MARGIN = 12, 3, 6, 130
TARGET = Path(__file__).parents[1] / "docs/images/synthetic_fashion.png"


def main() -> None:
    dataset = SyntheticFashion(size=1_000)
    images, labels = (tensor.numpy() for tensor in dataset.as_tensors())
    cell = images.shape[-1] * SCALE + GAP
    sheet = Image.new("L", (MARGIN + COLUMNS * cell, len(dataset.classes) * cell + GAP))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=16)
    for row, name in enumerate(dataset.classes):
        top = GAP + row * cell
        pen.text((GAP * 2, top + cell // 2 - GAP), name, fill=230, font=font, anchor="lm")
        for column, image in enumerate(images[labels == row, 0][:COLUMNS]):
            large = np.kron(image, np.ones((SCALE, SCALE), np.uint8))
            sheet.paste(Image.fromarray(large), (MARGIN + column * cell, top))
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(TARGET, optimize=True)


if __name__ == "__main__":
    main()
