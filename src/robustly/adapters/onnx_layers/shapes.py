"""The numbers of a row in another arrangement, or repeated."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from robustly.adapters.onnx_layers.bound import VARIABLE, Args, At, Bound, UnsupportedError, constant, setting


def flatten(at: At, args: Args) -> nn.Module:
    """Two axes: those before one, and the rest."""
    axis = at.get("axis", 1)
    if axis == 1:
        return nn.Flatten(1)
    if at["shape"] is not None:
        return _of_rows((math.prod(at["shape"][:axis]), math.prod(at["shape"][axis:])), at)
    return Bound(lambda x: x.reshape(math.prod(x.shape[:axis]), -1), args)


def reshape(at: At, args: Args) -> nn.Module:
    """Another shape, constant or computed."""
    shape = args[1]
    if isinstance(shape, Tensor) and not at.get("allowzero", 0):
        wanted, row = shape.tolist(), at["row"]
        if len(wanted) == 2 and (wanted == [0, -1] or (row is not None and wanted in ([-1, row], [0, row]))):
            return nn.Flatten(1)
        if at["shape"] is not None:
            return _of_rows(torch.empty(at["shape"]).reshape(_sizes(at, wanted, at["shape"])).shape, at)

    def function(x: Tensor, shape: Tensor) -> Tensor:
        return x.reshape(_sizes(at, [int(s) for s in shape.tolist()], x.shape))

    return Bound(function, args)


def _sizes(at: At, wanted: Sequence[int], old: Sequence[int]) -> list[int]:
    return list(wanted) if at.get("allowzero", 0) else [old[i] if s == 0 else s for i, s in enumerate(wanted)]


def _of_rows(shape: Sequence[int], at: At) -> nn.Module:
    """Every row in the shape that a single one is given: `shape` begins with its batch of one."""
    if not shape or shape[0] != 1 or at["shape"][0] != 1:
        raise UnsupportedError(
            f"a reshape of {tuple(at['shape'])} to {tuple(shape)}, which leaves no axis for the batch"
        )
    row = tuple(shape[1:])
    return nn.Flatten(1) if len(row) == 1 and len(at["shape"]) > 1 else Bound(lambda x: x.reshape(-1, *row), [VARIABLE])


def transpose(at: At, args: Args) -> nn.Module:
    """The axes in another order."""
    return Bound(lambda x: x.permute(at.get("perm") or list(reversed(range(x.dim())))), args)


def squeeze(at: At, args: Args) -> nn.Module:
    """Axes of one left out."""
    axes = setting(at, args, "axes", 1)
    if at["shape"] is not None and not at["fixed"]:
        axes = [i for i, size in enumerate(at["shape"]) if i and size == 1] if axes is None else axes
        if 0 in [axis % at["rank"] for axis in axes]:
            raise UnsupportedError("the axis of the batch left out")
    if axes is not None and at["rank"] is not None:
        return Bound(lambda x: _without(x, sorted((axis % at["rank"] for axis in axes), reverse=True)), args[:1])
    return Bound(lambda x: x.squeeze() if axes is None else x.squeeze(tuple(axes)), args[:1])


def _without(x: Tensor, axes: Sequence[int]) -> Tensor:
    for axis in axes:
        x = x.squeeze(axis)
    return x


def unsqueeze(at: At, args: Args) -> nn.Module:
    """Axes of one put in."""
    axes = setting(at, args, "axes", 1) or []

    def function(x: Tensor) -> Tensor:
        rank = (x.dim() if at["rank"] is None else at["rank"]) + len(axes)
        for axis in sorted(a % rank for a in axes):
            x = x.unsqueeze(axis)
        return x

    return Bound(function, args[:1])


def expand(at: At, args: Args) -> nn.Module:
    """Axes of one repeated."""
    wanted = [int(v) for v in constant(args, 1, "the shape").tolist()]
    shape = at["shape"]
    if shape is None or not shape or len(wanted) > len(shape) or (len(wanted) == len(shape) and wanted[0] != 1):
        return Bound(lambda x: x.expand(torch.broadcast_shapes(x.shape, wanted)), args[:1])
    sizes = tuple(torch.broadcast_shapes(shape, wanted))[1:]
    return nn.Identity() if sizes == shape[1:] else Bound(lambda x: x.expand(-1, *sizes), args[:1])


def constant_of_shape(at: At, args: Args) -> nn.Module:
    """One number everywhere."""
    import onnx

    value = (
        torch.tensor(onnx.numpy_helper.to_array(at["value"]).reshape(-1)[0].item())
        if "value" in at
        else torch.tensor(0.0)
    )
    return Bound(lambda shape: value.expand(tuple(int(v) for v in shape.tolist())).clone(), args)


def tile(at: At, args: Args) -> nn.Module:
    """Repeated along axes."""
    times = [int(v) for v in constant(args, 1, "the repeats").tolist()]

    def function(x: Tensor) -> Tensor:
        for axis, count in enumerate(times):
            x = torch.cat([x] * count, axis) if count != 1 else x
        return x

    return Bound(function, args[:1])


def resize(at: At, args: Args) -> nn.Module:
    """Nearest neighbours by whole factors; the rest is left."""
    place = 1 if at["opset"] < 11 or "scales" in at else 2
    scales = at.get("scales") or constant(args, place, "the scales")
    if scales is None or len(scales) == 0:
        sizes = setting(at, args, "sizes", 3)
        if sizes is None or at["shape"] is None:
            raise UnsupportedError("sizes that aren't known")
        scales = [new / old for new, old in zip(sizes, at["shape"], strict=True)]
    factors = [float(v) for v in scales]
    if at.get("mode", "nearest") != "nearest" or any(f != int(f) for f in factors) or factors[:2] != [1.0, 1.0]:
        raise UnsupportedError("anything but nearest neighbours by whole factors")
    scale = tuple(int(f) for f in factors[2:])
    if len(scale) != 2:
        return Bound(lambda x: functional.interpolate(x, scale_factor=scale, mode="nearest"), [VARIABLE])
    return Bound(lambda x: _enlarged(x, scale), [VARIABLE])


def _enlarged(x: Tensor, scale: tuple[int, ...]) -> Tensor:
    """Every number of an image repeated, out of operations that have bounds."""
    channels, high, wide = x.shape[1], x.shape[2], x.shape[3]
    x = x.unsqueeze(4).expand(-1, -1, -1, -1, scale[1]).reshape(-1, channels, high, wide * scale[1])
    return x.unsqueeze(3).expand(-1, -1, -1, scale[0], -1).reshape(-1, channels, high * scale[0], wide * scale[1])
