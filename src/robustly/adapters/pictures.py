"""One image file as an array of pixels, or the reason why not. Only what decodes without loss of meaning is taken."""

from __future__ import annotations

import io
import struct
import warnings
from typing import Any

import numpy as np

MOST_PIXELS = 50_000_000
FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


class UnreadableError(ValueError):
    """Why an image is left out, as the end of a sentence."""


def read_picture(content: bytes) -> np.ndarray:
    """Pixels (H, W) for grey and (H, W, 3) for colour; uint8, or uint16 for 16-bit grey. EXIF rotation is applied.

    Raises:
        UnreadableError: empty, corrupt, too large, animated, transparent, CMYK or 16-bit colour.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not content:
        raise UnreadableError("is empty (0 bytes)")
    if _is_deep_colour(content):
        raise UnreadableError("has 16 bits a colour, of which only 8 would be read; save it with 8")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images and odd metadata; sizes are checked here
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                if image.width * image.height > MOST_PIXELS:
                    size = f"{image.width} x {image.height}"
                    raise UnreadableError(f"has {size} pixels, more than {MOST_PIXELS // 1_000_000} million")
                if getattr(image, "n_frames", 1) > 1:
                    raise UnreadableError("is animated; save one frame")
                return _pixels(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise UnreadableError("is no PNG, JPEG, BMP or WebP image") from None
    except UnreadableError:
        raise
    except Image.DecompressionBombError:
        raise UnreadableError(f"has more than {MOST_PIXELS // 1_000_000} million pixels") from None
    except Exception as error:
        raise UnreadableError(f"is corrupt ({str(error)[:80] or type(error).__name__})") from None


def _pixels(image: Any) -> np.ndarray:
    mode = image.mode
    if mode == "P" or (mode in ("L", "RGB") and "transparency" in image.info):
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode in ("RGBA", "LA", "PA"):
        alpha = np.asarray(image.getchannel("A"))
        if (alpha < 255).any():
            raise UnreadableError("is transparent in places, so its colours depend on the background; flatten it")
        image = image.convert("RGB" if image.mode != "LA" else "L")
    if image.mode == "1":
        image = image.convert("L")
    if image.mode in ("L", "RGB"):
        return np.array(image)
    if image.mode.startswith("I"):
        return _sixteen(np.array(image))
    raise UnreadableError(f"is {image.mode}; convert it to RGB")


def _sixteen(values: np.ndarray) -> np.ndarray:
    if values.min() < 0 or values.max() > 65535:
        raise UnreadableError(f"has values from {values.min()} to {values.max()}, beyond 16 bits")
    return values.astype(np.uint16)


def _is_deep_colour(content: bytes) -> bool:
    """A PNG of 16 bits a channel and more than one channel (its header says so), which pillow would cut to 8."""
    if content[:8] != b"\x89PNG\r\n\x1a\n" or len(content) < 26:
        return False
    depth, colour = struct.unpack(">BB", content[24:26])
    return depth == 16 and colour != 0
