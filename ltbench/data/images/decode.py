"""One image file -> RGB pixels. What is done to an image here decides its pixels, cached or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def decode_image(file: Path, size: int) -> NDArray[np.uint8]:
    """One image as (size, size, 3) uint8: shorter side to `size` (bilinear, antialiased), centre crop, RGB. Raises what
    PIL raises for a damaged file, and ValueError for pixels without a fixed range."""
    from PIL import Image

    with Image.open(file) as opened:
        image = _rgb(opened)
    width, height = image.size
    if (width, height) != (size, size):
        scale = size / min(width, height)
        width, height = max(size, round(width * scale)), max(size, round(height * scale))
        left, top = (width - size) // 2, (height - size) // 2
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        image = image.crop((left, top, left + size, top + size))
    return np.asarray(image, dtype=np.uint8)


def whole(file: Path, shorter: int, interpolation: str = "bilinear") -> NDArray[np.uint8]:
    """One image as (h, w, 3) uint8 with min(h, w) = `shorter` (antialiased), nothing cut off. A JPEG of at
    least four times that size is decoded at a half, a quarter or an eighth of its own, which libjpeg does at a part of
    the cost; it is still twice the size that is wanted. Raises as `decode_image` does."""
    from PIL import Image

    with Image.open(file) as opened:
        if opened.format == "JPEG" and opened.mode in ("RGB", "L"):
            opened.draft(opened.mode, _scaled(opened.size, 2 * shorter))
        image = _rgb(opened)
    size = _scaled(image.size, shorter)
    if image.size != size:
        image = image.resize(size, Image.Resampling[interpolation.upper()])
    return np.asarray(image, dtype=np.uint8)


def _scaled(size: tuple[int, int], shorter: int) -> tuple[int, int]:
    scale = shorter / min(size)
    width, height = (max(shorter, round(side * scale)) for side in size)
    return width, height


def _rgb(opened: Any) -> Any:
    from PIL import Image

    if opened.mode in ("F", "I"):
        raise ValueError(f"its pixels (mode {opened.mode}) have no fixed range; save it with 8 bits per channel")
    sixteen = opened.mode.startswith("I;16")
    pixels = Image.fromarray((np.asarray(opened) >> 8).astype(np.uint8)) if sixteen else opened
    if "transparency" in opened.info:  # else PIL warns; what is transparent keeps its colour either way
        pixels = pixels.convert("RGBA")
    return pixels.convert("RGB")
