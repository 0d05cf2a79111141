"""Parts of a row chosen, and put side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from robustly.adapters.onnx_layers.bound import (
    VARIABLE,
    Args,
    At,
    Bound,
    UnsupportedError,
    cut,
    setting,
)

MOST = 256
"""Places that are picked one by one, which every kind of bound can do."""


def concat(at: At, args: Args) -> nn.Module:
    """Side by side along an axis; what is constant stands beside every row."""
    axis = at["axis"]
    first = next((i for i, part in enumerate(args) if part is VARIABLE), -1)
    constants = [part for part in args if isinstance(part, Tensor)]
    alone = at["fixed"] or first < 0 or axis == 0 or not constants
    if alone or any(c.dim() < 2 or c.shape[0] != 1 for c in constants):
        return Bound(lambda *parts: torch.cat(parts, axis), args)
    corner = (slice(None), *(slice(0, 1),) * (constants[0].dim() - 1))

    def function(*parts: Tensor) -> Tensor:
        nothing = parts[first][corner] * 0.0  # a row of its own for every row
        return torch.cat([p if args[i] is VARIABLE else p + nothing for i, p in enumerate(parts)], axis)

    return Bound(function, args)


def gather(at: At, args: Args) -> nn.Module:
    """Places of an axis."""
    index = args[1]
    if at["shape"] is not None and isinstance(index, Tensor) and (plain := _gathered(at, index)) is not None:
        return plain

    def function(x: Tensor, index: Tensor) -> Tensor:
        axis = at.get("axis", 0) % x.dim()
        index = torch.where(index < 0, index + x.shape[axis], index)
        found = x.index_select(axis, index.reshape(-1))
        return found.reshape([*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]])

    return Bound(function, args)


def _gathered(at: At, index: Tensor) -> nn.Module | None:
    """One place or a run of places of an axis as a plain cut."""
    axis, shape = at.get("axis", 0) % len(at["shape"]), at["shape"]
    places = [int(i) % shape[axis] for i in index.reshape(-1).tolist()]
    before = (slice(None),) * axis
    if axis == 0:
        return None
    if index.dim() == 0:
        return Bound(lambda x: x[(*before, places[0])], [VARIABLE])
    if index.dim() == 1 and places == list(range(places[0], places[0] + len(places))):
        return cut((*before, slice(places[0], places[-1] + 1)))
    if index.dim() == 1 and len(places) <= MOST:
        return _picked(places, axis)
    return Bound(lambda x, places: x[(*before, places)], [VARIABLE, torch.where(index < 0, index + shape[axis], index)])


def _picked(places: Sequence[int], axis: int) -> nn.Module:
    before = (slice(None),) * axis
    return Bound(lambda x: torch.cat([x[(*before, slice(i, i + 1))] for i in places], axis), [VARIABLE])


def sliced(at: At, args: Args) -> nn.Module:
    """Runs of places along axes."""
    starts, ends = setting(at, args, "starts", 1), setting(at, args, "ends", 2)
    if starts is None or ends is None:
        raise UnsupportedError("a slice without its ends")
    axes, steps = setting(at, args, "axes", 3), setting(at, args, "steps", 4)
    axes, steps = list(range(len(starts))) if axes is None else axes, steps or [1] * len(starts)
    if any(step < 1 for step in steps):
        return _backwards(at, list(zip(axes, starts, ends, steps, strict=True)))
    if at["rank"] is None:
        raise UnsupportedError("an input of unknown rank")
    cuts = [slice(None)] * at["rank"]
    for axis, start, stop, step in zip(axes, starts, ends, steps, strict=True):
        whole = start == 0 and step == 1 and stop >= (1 if at["shape"] is not None else 2**31 - 1)
        if not (axis % at["rank"] == 0 and at["rank"] > 1 and whole):  # all of the batch
            cuts[axis % at["rank"]] = slice(start, None if stop >= 2**31 - 1 else stop, step)
    last = max((i for i, cut in enumerate(cuts) if cut != slice(None)), default=-1)
    return Bound(lambda x: x[tuple(cuts[: last + 1])], args[:1]) if last >= 0 else nn.Identity()


def _backwards(at: At, cuts: Sequence[tuple[int, int, int, int]]) -> nn.Module:
    """Runs of places of which some go backwards, place by place."""
    if not at["fixed"] and at["shape"] is None:
        raise UnsupportedError("a step backwards along an axis whose size isn't known")
    if not at["fixed"]:
        places = [(axis % at["rank"], range(at["shape"][axis])[start:stop:step]) for axis, start, stop, step in cuts]
        if any(axis == 0 or not 0 < len(run) <= MOST for axis, run in places):
            raise UnsupportedError(f"a step backwards along the batch, or over more than {MOST} places")
        return nn.Sequential(*(_picked(run, axis) for axis, run in places))

    def function(x: Tensor) -> Tensor:
        for axis, start, stop, step in cuts:
            x = x.index_select(axis, torch.tensor(range(x.shape[axis])[start:stop:step], dtype=torch.int64))
        return x

    return Bound(function, [VARIABLE])


def parted(at: At, args: Args, count: int) -> list[nn.Module]:
    """Parts of an axis."""
    sizes, shape = setting(at, args, "split", 1), at["shape"]
    axis = at.get("axis", 0)
    if sizes is None:
        if shape is None:
            raise UnsupportedError("equal parts of an axis whose size isn't known")
        size = -(-shape[axis] // count)
        sizes = [min(size, shape[axis] - i * size) for i in range(count)]
    if at["rank"] is None or axis % at["rank"] == 0:
        raise UnsupportedError("parts of the batch")
    cuts = (slice(None),) * (axis % at["rank"])
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return [cut((*cuts, slice(end - size, end))) for end, size in zip(ends, sizes, strict=True)]


def where(at: At, args: Args) -> nn.Module:
    """With a constant condition a sum of two products, which has bounds."""
    condition, one, two = args
    finite = all(not isinstance(a, Tensor) or bool(torch.isfinite(a.double()).all()) for a in (one, two))
    if isinstance(condition, Tensor) and (one is VARIABLE or two is VARIABLE) and finite:
        kept = condition.to(torch.float32)
        return Bound(lambda k, left, a, b: k * a + left * b, (kept, 1 - kept, one, two))
    return Bound(torch.where, args)
