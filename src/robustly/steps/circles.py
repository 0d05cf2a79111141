"""Circles through an input and a point of the border: all their other points are nearer to the input than that point.

Where the border is flat, the point of it that is nearest in a plane through the input lies on that circle, by Thales.
"""

from __future__ import annotations

from torch import Tensor

from robustly.core.rows import column
from robustly.steps.border_normal import Draw
from robustly.steps.radii import unit
from robustly.steps.sizes import l2_size


def aside(change: Tensor, toward: Tensor) -> Tensor:
    """What of `toward` (B, ...) is at right angles to the change, brought to length 1; zero where nothing is."""
    along, way = unit(change), unit(toward)
    return unit(way - column((way * along).flatten(1).sum(1), along) * along)


def on_circle(change: Tensor, side: Tensor, angle: Tensor) -> Tensor:
    """The change (B, ...) on the circle whose diameter leads from the input to `change`, in the plane of `side`.

    side: of length 1, at right angles to the change. angle: (B,), at the input, from the change to the side: at 0 it is
    the change itself, at pi / 2 none. Its length is that of the change times cos(angle).
    """
    wide = angle.double()  # float32's cosine differs in its last bit between the ends and the middle of a batch
    cos, sin = (column(t.to(change.dtype), change) for t in (wide.cos(), wide.sin()))
    return cos * (cos * change + sin * column(l2_size(change), side) * side)


def across(draw: Draw, along: Tensor) -> Draw:
    """The same noise without its part along a direction (B, ...) of length 1."""

    def drawn(key: Tensor, shape: tuple[int, ...]) -> Tensor:
        noise = draw(key, shape)
        part = (noise * along[:, None]).flatten(2).sum(2)
        return noise - part.reshape(*part.shape, *(1,) * (along.dim() - 1)) * along[:, None]

    return drawn
