"""Convolutions and transposed ones."""

from __future__ import annotations

from torch import nn

from robustly.adapters.onnx_layers.bound import VARIABLE, Args, At, Bound, UnsupportedError, constant, one_or_all
from robustly.adapters.onnx_layers.padding import after, padding_of
from robustly.adapters.onnx_layers.products import filled


def conv(at: At, args: Args) -> nn.Module:
    """A convolution over one, two or three axes, grouped, strided, dilated, padded as told."""
    weight, bias = constant(args, 1, "the kernel"), constant(args, 2, "the bias")
    rank = weight.dim() - 2
    if rank not in (1, 2, 3):
        raise UnsupportedError(f"a convolution over {rank} axes")
    kernel = list(weight.shape[2:])
    strides, dilations = at.get("strides", [1] * rank), at.get("dilations", [1] * rank)
    before, _, pad = padding_of(at, kernel, strides, dilations, 0.0)
    make = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[rank - 1]
    groups = at.get("group", 1)
    layer = make(
        weight.shape[1] * groups,
        weight.shape[0],
        one_or_all(kernel),
        one_or_all(strides),
        one_or_all(before) if pad is None else 0,
        one_or_all(dilations),
        groups,
        bias is not None,
        dtype=weight.dtype,
        device="meta",
    )
    return after(pad, filled(layer, weight, bias))


def conv_transpose(at: At, args: Args) -> nn.Module:
    """A transposed convolution, cropped where its padding is uneven."""
    weight, bias = constant(args, 1, "the kernel"), constant(args, 2, "the bias")
    rank = weight.dim() - 2
    if rank not in (1, 2, 3):
        raise UnsupportedError(f"a transposed convolution over {rank} axes")
    kernel = list(weight.shape[2:])
    strides, dilations = at.get("strides", [1] * rank), at.get("dilations", [1] * rank)
    extra, groups = at.get("output_padding", [0] * rank), at.get("group", 1)
    if at.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID") or "output_shape" in at:
        raise UnsupportedError("padding that follows from an output shape")
    pads = list(at.get("pads", [0] * 2 * rank))
    before, after = pads[:rank], pads[rank:]
    even = before == after
    layer = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[rank - 1](
        weight.shape[0],
        weight.shape[1] * groups,
        one_or_all(kernel),
        one_or_all(strides),
        one_or_all(before) if even else 0,
        one_or_all(extra),
        groups,
        bias is not None,
        one_or_all(dilations),
        dtype=weight.dtype,
        device="meta",
    )
    uncropped = filled(layer, weight, bias)
    if even:
        return uncropped
    kept = (slice(None), slice(None), *(slice(b, -a or None) for b, a in zip(before, after, strict=True)))
    return nn.Sequential(uncropped, Bound(lambda x: x[kept], [VARIABLE]))
