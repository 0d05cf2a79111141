"""Linear and convolution layers, and batch normalisation by stored statistics."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from robustly.certify.enclosures.affine import WINOGRAD, direct, product_error
from robustly.certify.enclosures.pointwise import Refused, stored
from robustly.certify.enclosures.value import TINY, UNIT, gamma
from robustly.certify.linear import maps
from robustly.certify.linear.lowering.building import Value
from robustly.certify.linear.program import Map, Rounding

Numbers = int | tuple[int, ...]


def linear(x: Value, weight: Tensor, bias: Tensor | None = None) -> Value:
    """x W^T + b over the last dimension."""
    if not isinstance(weight, Tensor) or isinstance(bias, Value):
        raise Refused("its weight or bias depends on the input")
    step = maps.dense(weight)
    error = gamma(weight.shape[1] + 2) + product_error(weight.device)
    return x.building.affine((x,), (step,), _row(bias, 1), _summed(step, bias, error, weight.shape[1], 1))


def conv(
    x: Value,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Numbers = 1,
    padding: Numbers | str = 0,
    dilation: Numbers = 1,
    groups: int = 1,
) -> Value:
    """A convolution over one, two or three dimensions, padded with zeros."""
    dims = _dims(x, weight)
    settings = {"stride": several(stride, dims), "dilation": several(dilation, dims), "groups": groups}
    if isinstance(padding, str):
        x, padding = _padded(x, weight, settings["dilation"], padding)
    step = maps.convolution(weight, x.row, {**settings, "padding": several(padding, dims)})
    return _convolved(x, step, weight, bias, weight[0].numel())


def conv_transpose(
    x: Value,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Numbers = 1,
    padding: Numbers = 0,
    output_padding: Numbers = 0,
    groups: int = 1,
    dilation: Numbers = 1,
) -> Value:
    """A transposed convolution over one, two or three dimensions."""
    dims = _dims(x, weight)
    named = {"stride": stride, "padding": padding, "output_padding": output_padding, "dilation": dilation}
    step = maps.transposed_convolution(weight, {k: several(v, dims) for k, v in named.items()} | {"groups": groups})
    return _convolved(x, step, weight, bias, weight[:, 0].numel() // groups)


def batch_norm(
    x: Value,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Value:
    """By stored statistics; sixteen units of rounding cover every order in which it is computed."""
    alpha, mean, b = stored(running_mean, running_var, weight, bias, training, eps, len(x.shape))
    size, more = alpha.abs(), alpha.abs() * mean.abs() + b.abs()
    return x.building.affine(
        (x,), (maps.scaled(alpha),), b - mean * alpha, lambda sizes: 16 * UNIT * (size * sizes[0] + more) + TINY
    )


def several(value: Any, dims: int) -> tuple[int, ...]:
    """A setting for each dimension."""
    given = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    return given * dims if len(given) == 1 else given


def _dims(x: Value, weight: Any) -> int:
    if not isinstance(weight, Tensor):
        raise Refused("its weight depends on the input")
    dims = weight.dim() - 2
    if len(x.row) != dims + 1:
        raise Refused(f"rows of shape {x.row} into a convolution over {dims} dimensions")
    return dims


def _convolved(x: Value, step: Map, weight: Tensor, bias: Tensor | None, taps: int) -> Value:
    error, dims = gamma(taps + 2) + product_error(weight.device, conv=True), weight.dim() - 2
    plain = _summed(step, bias, error, taps, dims + 1)
    if direct(weight.device):
        return x.building.affine((x,), (step,), _row(bias, dims + 1), plain)

    def rounding(sizes: Any) -> Tensor:
        most = sizes[0].flatten(1).amax(1).reshape(-1, *(1,) * (dims + 1)).expand_as(sizes[0])
        return WINOGRAD * plain((most,))

    return x.building.affine((x,), (step,), _row(bias, dims + 1), rounding)


def _summed(step: Map, bias: Tensor | None, error: float, terms: int, dims: int) -> Rounding:
    """Sums of products in any order: see `enclosures.value`."""
    more = 0.0 if bias is None else _row(bias, dims).abs()  # type: ignore[union-attr]
    return lambda sizes: error * (step.size(sizes[0]) + more) + terms * TINY


def _row(bias: Tensor | None, dims: int) -> Tensor | None:
    """A bias of channels, which come first of `dims` dimensions of a row."""
    return None if bias is None else bias.detach().double().reshape(1, -1, *(1,) * (dims - 1))


def _padded(x: Value, weight: Tensor, dilation: tuple[int, ...], padding: str) -> tuple[Value, int]:
    """What `padding="same"` puts around a value: half before, the rest after."""
    if padding == "valid":
        return x, 0
    from robustly.certify.linear.lowering.shapes import pad

    total = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
    return pad(x, [n for t in reversed(total) for n in (t // 2, t - t // 2)]), 0
