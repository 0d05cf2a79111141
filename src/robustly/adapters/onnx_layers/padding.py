"""Padding, on its own and before a window."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from robustly.adapters.onnx_layers.bound import Args, At, Bound, UnsupportedError, constant, setting


class ConstantPad(nn.Module):
    """Numbers put before and after each axis of an image."""

    def __init__(self, before: Sequence[int], after: Sequence[int], value: float) -> None:
        super().__init__()
        self.pairs = [p for b, a in zip(reversed(before), reversed(after), strict=True) for p in (b, a)]
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return functional.pad(x, self.pairs, value=self.value)


class _SamePad(nn.Module):
    """Pads so that the output has ceil(size / stride) places; the odd one at the end (upper) or the start (lower)."""

    def __init__(self, spans: Sequence[int], strides: Sequence[int], upper: bool, value: float) -> None:
        super().__init__()
        self.spans, self.strides, self.upper, self.value = list(spans), list(strides), upper, value

    def forward(self, x: Tensor) -> Tensor:
        pairs: list[int] = []
        for size, span, stride in zip(reversed(x.shape[2:]), reversed(self.spans), reversed(self.strides), strict=True):
            total = max((-(-size // stride) - 1) * stride + span - size, 0)
            small, large = total // 2, total - total // 2
            pairs += (small, large) if self.upper else (large, small)
        return functional.pad(x, pairs, value=self.value)


def padding_of(
    at: At, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], value: float
) -> tuple[list[int], list[int], nn.Module | None]:
    """Padding before and after each axis, and a layer for it where torch's own symmetric padding can't say it."""
    rank, auto = len(kernel), at.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
        return [0] * rank, [0] * rank, _SamePad(spans, strides, auto == "SAME_UPPER", value)
    pads = list(at.get("pads", [0] * 2 * rank)) if auto == "NOTSET" else [0] * 2 * rank
    before, after = pads[:rank], pads[rank:]
    return before, after, None if before == after else ConstantPad(before, after, value)


def after(first: nn.Module | None, layer: nn.Module) -> nn.Module:
    """One after the other, where there is a first."""
    return layer if first is None else nn.Sequential(first, layer)


def padded(at: At, args: Args) -> nn.Module:
    """Constants, copies of the edge or reflections put around."""
    pads = setting(at, args, "pads", 1) or []
    if constant(args, 3, "axes") is not None:
        raise UnsupportedError("padding of chosen axes")
    value = float(at.get("value", constant(args, 2, "the value", 0.0)))
    mode = at.get("mode", "constant")
    if mode not in ("constant", "reflect", "edge"):
        raise UnsupportedError(f'the mode "{mode}"')
    rank = len(pads) // 2
    pairs = [p for axis in reversed(range(rank)) for p in (pads[axis], pads[axis + rank])]
    while pairs[-2:] == [0, 0]:
        pairs = pairs[:-2]  # torch wants only the axes that are padded
    if mode == "constant":
        return Bound(lambda x: functional.pad(x, pairs, value=value), args[:1])
    return Bound(lambda x: functional.pad(x, pairs, mode="replicate" if mode == "edge" else mode), args[:1])
