"""A folder of images in class folders, FOLDER/cat/1.png: read in sorted order, every file left out is listed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from robustly.adapters.pictures import SUFFIXES, UnreadableError, read_picture
from robustly.adapters.raw import Raw
from robustly.core.errors import UsageError, nearest


class Picture(NamedTuple):
    """Pixels (H, W) or (H, W, 3), uint8 or uint16; where they came from; the label."""

    pixels: np.ndarray
    name: str
    label: int


def read_folder(folder: Path, classes: Sequence[str] = (), limit: int | None = None) -> Raw:
    """Images and labels; class names are those of the folders, in sorted order or in that of `classes`.

    limit: so many images, spread evenly over the classes.

    Raises:
        UsageError: no class folders, one class only, no image that can be read, or images of different sizes.
    """
    found = _files(folder)
    names = _names(folder, tuple(found), tuple(classes))
    notes = _of_order(tuple(found), bool(classes))
    odd = [f for files in found.values() for f in files if f.suffix.lower() not in SUFFIXES]
    if odd:
        notes.append(
            f"{len(odd)} files are no PNG, JPEG, BMP or WebP: {_listed(str(f.relative_to(folder)) for f in odd)}"
        )
    candidates = {names.index(c): [f for f in files if f.suffix.lower() in SUFFIXES] for c, files in found.items()}
    pictures, skipped = _read(folder, candidates, limit)
    if limit is not None and len(pictures) < sum(len(files) for files in candidates.values()) - len(skipped):
        notes.append(f"the {len(pictures)} images are spread evenly over the classes")
    return assembled(pictures, skipped, str(folder.name or folder), names, notes)


def assembled(
    pictures: Sequence[Picture], skipped: Sequence[str], name: str, classes: tuple[str, ...], notes: Iterable[str]
) -> Raw:
    """Pictures as one array (N, C, H, W): uint8, or float32 in [0, 1] where some have 16 bits.

    Raises:
        UsageError: none left, or of different sizes; names the files.
    """
    notes = list(notes)
    if skipped:
        notes.append(f"{len(skipped)} images are left out: {_listed(skipped)}")
    if not pictures:
        raise UsageError(f"{name} has 0 samples: no image could be read. {_listed(skipped) or 'There are none.'}")
    sizes: dict[tuple[int, ...], list[str]] = {}
    for picture in pictures:
        sizes.setdefault(picture.pixels.shape[:2], []).append(picture.name)
    if len(sizes) > 1:
        told = "; ".join(f"{w} x {h}: {_listed(files, 3)}" for (h, w), files in list(sizes.items())[:4])
        raise UsageError(f"the images have different sizes ({told}). Bring them to one size, as the model wants it.")
    if len({p.pixels.ndim for p in pictures}) > 1:
        notes.append("grey images among coloured ones are read as RGB of equal channels")
    x = np.stack([_planes(p.pixels, any(q.pixels.ndim == 3 for q in pictures)) for p in pictures]) if pictures else None
    deep = any(p.pixels.dtype == np.uint16 for p in pictures)
    if deep:
        x = np.stack([_unit(p.pixels, any(q.pixels.ndim == 3 for q in pictures)) for p in pictures])
        notes.append("16-bit images are divided by 65535")
    y = np.array([p.label for p in pictures], dtype=np.int64)
    return Raw(x, y, name, classes, range=(0.0, 1.0) if deep else None, layout="chw", notes=tuple(notes))


def _planes(pixels: np.ndarray, colour: bool) -> np.ndarray:
    if pixels.ndim == 3:
        return pixels.transpose(2, 0, 1)
    return np.repeat(pixels[None], 3, 0) if colour else pixels[None]


def _unit(pixels: np.ndarray, colour: bool) -> np.ndarray:
    whole = 65535 if pixels.dtype == np.uint16 else 255
    return _planes(pixels, colour).astype(np.float32) / np.float32(whole)


def _files(folder: Path) -> dict[str, list[Path]]:
    """Files by class folder, sorted; hidden ones left out."""
    found: dict[str, list[Path]] = {}
    for place in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
        files = sorted(f for f in place.rglob("*") if f.is_file() and not f.name.startswith("."))
        found[place.name] = [f for f in files if f.name.lower() not in ("thumbs.db", "desktop.ini")]
    if not found:
        raise UsageError(f"{folder} has no class folders. Put the images into one folder a class: {folder}/cat/1.png.")
    return found


def _names(folder: Path, found: tuple[str, ...], classes: tuple[str, ...]) -> tuple[str, ...]:
    for name in found:
        if classes and name not in classes:
            raise UsageError(f"{folder}/{name} is none of the classes given.{nearest(name, classes)}")
    if len(classes or found) < 2:
        raise UsageError(
            f'{folder} has only 1 class folder, "{found[0]}": nothing to confuse. A classifier has at least 2.'
        )
    return classes or found


def _of_order(found: tuple[str, ...], given: bool) -> list[str]:
    if given or not all(name.isdigit() for name in found) or list(found) == sorted(found, key=int):
        return []
    told = ", ".join(f"{i} = {name}" for i, name in enumerate(found[:4]))
    return [
        f"class folders are numbers in alphabetical order ({told}, ...); where the model counts otherwise, give classes"
    ]


def _read(folder: Path, files: dict[int, list[Path]], limit: int | None) -> tuple[list[Picture], list[str]]:
    """Take one image of each class in turn until there are enough; give them back class by class."""
    kept: dict[int, list[Picture]] = {label: [] for label in files}
    skipped: list[str] = []
    queues = {label: iter(paths) for label, paths in files.items()}
    while queues and (limit is None or sum(map(len, kept.values())) < limit):
        for label in list(queues):
            if limit is not None and sum(map(len, kept.values())) >= limit:
                break
            path = next(queues[label], None)
            if path is None:
                del queues[label]
                continue
            name = str(path.relative_to(folder))
            try:
                kept[label].append(Picture(read_picture(path.read_bytes()), name, label))
            except UnreadableError as error:
                skipped.append(f"{name} {error}")
            except OSError as error:
                skipped.append(f"{name} cannot be opened ({error.strerror})")
    return [picture for label in sorted(kept) for picture in kept[label]], sorted(skipped)


def _listed(items: Iterable[str], most: int = 10) -> str:
    items = list(items)
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")
