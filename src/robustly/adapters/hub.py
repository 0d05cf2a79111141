"""A Hugging Face `datasets` directory on disk (`Dataset.save_to_disk`), with an image or a text column and a label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robustly.adapters.folders import Picture, assembled
from robustly.adapters.pictures import UnreadableError, read_picture
from robustly.adapters.raw import Raw
from robustly.core.errors import UsageError

LABELS = ("label", "labels", "target", "fine_label")


def is_dataset(folder: Path) -> bool:
    """Was this folder written by `save_to_disk`?"""
    return (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file()


def read_dataset(folder: Path, limit: int | None = None) -> Raw:
    """The images or texts of a dataset and their labels, in its order.

    Raises:
        UsageError: `datasets` isn't installed, several splits, damaged, or no such columns; names what it has.
    """
    try:
        import datasets
    except ImportError as error:
        raise UsageError(f"{folder} needs the datasets library: pip install robustly[datasets]") from error
    if (folder / "dataset_dict.json").is_file():
        splits = sorted(p.name for p in folder.iterdir() if is_dataset(p))
        raise UsageError(
            f"{folder} holds the splits {', '.join(splits)}. Name one: {folder / (splits or ['test'])[-1]}."
        )
    try:
        table: Any = datasets.load_from_disk(str(folder))
    except Exception as error:
        raise UsageError(f"{folder} cannot be read as a dataset: {type(error).__name__}: {str(error)[:200]}") from error
    features: dict[str, Any] = dict(table.features)
    label = _label(folder, features, datasets)
    classes = tuple(getattr(features[label], "names", None) or ())
    images = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
    if images:
        return _images(table, images[0], label, classes, folder, limit, datasets)
    texts = [
        k for k, kind in features.items() if k != label and getattr(kind, "dtype", "") in ("string", "large_string")
    ]
    text = "text" if "text" in texts else texts[0] if len(texts) == 1 else None
    if text is None:
        raise UsageError(f"{folder} has no image column and no single text column; it has {_told(features)}.")
    return Raw(
        tuple(table[text]),
        list(table[label]),
        folder.name,
        classes,
        notes=(f'texts are the column "{text}"',),
        text=True,
    )


def _label(folder: Path, features: dict[str, Any], datasets: Any) -> str:
    named = [name for name in LABELS if name in features]
    classed = [name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    found = named or classed
    if not found:
        raise UsageError(f"{folder} has no label column ({', '.join(LABELS)}); it has {_told(features)}.")
    return found[0]


def _images(
    table: Any, column: str, label: str, classes: tuple[str, ...], folder: Path, limit: int | None, datasets: Any
) -> Raw:
    table = table.cast_column(
        column, datasets.Image(decode=False)
    )  # bytes, so that one reader decides what is an image
    pictures, skipped = [], []
    for i, row in enumerate(table):
        if limit is not None and len(pictures) >= limit:
            break
        content = row[column] and row[column]["bytes"]
        try:
            if content is None:
                raise UnreadableError("is not in the dataset itself; save it with its images embedded")
            pictures.append(Picture(read_picture(content), f"image {i}", row[label]))
        except UnreadableError as error:
            skipped.append(f"image {i} {error}")
    return assembled(pictures, skipped, folder.name, classes, [f'images are the column "{column}", labels "{label}"'])


def _told(features: dict[str, Any]) -> str:
    return ", ".join(features) or "no columns"
