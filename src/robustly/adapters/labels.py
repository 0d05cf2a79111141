"""Labels in: whatever stands for a class becomes int64 (N,)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from robustly.core.errors import UsageError, nearest


class Labels(NamedTuple):
    """y: int64 (N,). classes: names by label, empty where unknown. notes: what was mapped."""

    y: Tensor
    classes: tuple[str, ...]
    notes: tuple[str, ...]


def read_labels(y: Any, count: int, classes: Sequence[str] = ()) -> Labels:
    """Labels of `count` examples: integers, names, or one-hot rows.

    Names get the position of `classes` where given, else their alphabetical place.

    Raises:
        UsageError: missing, of another length, negative, not whole, out of range, unknown, or of one class only.
    """
    if y is None:
        raise UsageError(f"there are {count} inputs but no labels. Give (x, y), with a class for each input.")
    if len(classes) == 1:
        raise UsageError(f'there is only 1 class, "{classes[0]}": nothing to confuse. A classifier has at least 2.')
    if len(set(classes)) < len(classes):
        twice = next(name for name in classes if list(classes).count(name) > 1)
        raise UsageError(f'the class name "{twice}" stands twice. Give each class its own name.')
    values = _array(y)
    notes: tuple[str, ...] = ()
    if values.ndim == 0 or len(values) != count:
        raise UsageError(
            f"there are {count} inputs and {len(values) if values.ndim else 1} labels. Give one label an input."
        )
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 2:
        values, notes = _from_one_hot(values), (f"labels were one-hot of {values.shape[1]} classes",)
    if values.ndim != 1:
        raise UsageError(f"labels have the shape {values.shape}; one label an input is wanted, the shape ({count},).")
    if values.dtype.kind in "OUS":
        return _from_names([_text(v, i) for i, v in enumerate(values.tolist())], tuple(classes))
    return Labels(_checked(_whole(values), len(classes)), tuple(classes), notes)


def _array(y: Any) -> np.ndarray:
    if isinstance(y, Tensor):
        return y.detach().cpu().numpy()
    try:
        return np.asarray(y)
    except ValueError:
        raise UsageError("labels are of different lengths; give one label an input.") from None


def _from_one_hot(values: np.ndarray) -> np.ndarray:
    if values.shape[1] < 2:
        raise UsageError(f"one-hot labels of {values.shape[1]} class: nothing to confuse. A classifier has at least 2.")
    good = np.isin(values, (0, 1)).all(1) & (values.sum(1) == 1)
    if not good.all():
        first = int((~good).argmax())
        raise UsageError(
            f"labels of shape {values.shape} are taken as one-hot, but row {first} is {values[first].tolist()[:10]}. "
            "Give one class an input: y.argmax(1)."
        )
    return values.argmax(1)


def _whole(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind == "f":
        broken = ~(np.isfinite(values) & (values == np.round(values)))
        if broken.any():
            first = int(broken.argmax())
            raise UsageError(f"label {first} is {values[first]:g}; labels are whole numbers from 0 to K - 1.")
    elif values.dtype.kind not in "iub":
        raise UsageError(f"labels of type {values.dtype} can't be read; give whole numbers or names.")
    return values.astype(np.int64)


def _checked(y: np.ndarray, count: int) -> Tensor:
    if len(y) and y.min() < 0:
        first = int((y < 0).argmax())
        raise UsageError(f"label {first} is {y[first]}; labels start at 0. Leave out examples without a label.")
    if count and len(y) and y.max() >= count:
        first = int((y >= count).argmax())
        hint = " Labels seem to start at 1: subtract 1." if y.min() == 1 and y.max() == count else ""
        raise UsageError(f"label {first} is {y[first]}, but there are {count} classes, 0 to {count - 1}.{hint}")
    return torch.from_numpy(y)


def _text(value: Any, index: int) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if not isinstance(value, (str, int)):
        raise UsageError(f"label {index} is missing ({value!r}). Give every input a class.")
    return str(value)


def _from_names(names: list[str], classes: tuple[str, ...]) -> Labels:
    known = classes or tuple(sorted(set(names)))
    if len(known) == 1:
        raise UsageError(f'all labels are "{known[0]}": there is only 1 class, nothing to confuse. Give classes=(...).')
    place = {name: i for i, name in enumerate(known)}
    for i, name in enumerate(names):
        if name not in place:
            raise UsageError(f'label {i} is "{name}", which is none of the classes.{nearest(name, known)}')
    told = ", ".join(f"{i} = {name}" for i, name in enumerate(known[:10])) + (", ..." if len(known) > 10 else "")
    how = "" if classes else " in alphabetical order"
    return Labels(
        torch.tensor([place[name] for name in names], dtype=torch.int64), known, (f"labels are names{how}: {told}",)
    )
