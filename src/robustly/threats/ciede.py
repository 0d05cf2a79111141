"""How different two colours look: CIEDE2000, from sRGB through CIE Lab.

Luo, Cui & Rigg 2001; written from Sharma, Wu & Dalal 2005, "The CIEDE2000 color-difference formula: implementation notes,
supplementary test data, and mathematical observations", equations 2 to 22.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
"""Linear sRGB to CIE XYZ, IEC 61966-2-1."""
WHITE = tuple(sum(row) for row in TO_XYZ)
"""D65, as the white of sRGB maps to it, so that greys have no chroma."""


def to_lab(rgb: Tensor) -> Tensor:
    """sRGB in [0, 1] to CIE Lab; both float64 (B, 3, ...)."""
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb.clamp_min(0) + 0.055) / 1.055) ** 2.4)
    r, g, b = linear.unbind(1)
    x, y, z = ((u * r + v * g + w * b) / white for (u, v, w), white in zip(TO_XYZ, WHITE, strict=True))
    x, y, z = (
        torch.where(t > (6 / 29) ** 3, t.clamp_min(1e-30) ** (1 / 3), t / (3 * (6 / 29) ** 2) + 4 / 29)
        for t in (x, y, z)
    )
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), 1)


def ciede2000(one: Tensor, other: Tensor) -> Tensor:
    """The difference of two colours in Lab, float64 (B, 3, ...) each to (B, ...); about 1 is just noticed, kL = kC = kH = 1."""
    l1, a1, b1 = one.unbind(1)
    l2, a2, b2 = other.unbind(1)
    mean7 = ((torch.hypot(a1, b1) + torch.hypot(a2, b2)) / 2) ** 7
    g = (1 - (mean7 / (mean7 + 25.0**7)).sqrt()) / 2
    a1, a2 = (1 + g) * a1, (1 + g) * a2
    c1, c2 = torch.hypot(a1, b1), torch.hypot(a2, b2)
    h1, h2 = (torch.rad2deg(torch.atan2(b, a)) % 360 for a, b in ((a1, b1), (a2, b2)))
    grey = c1 * c2 == 0
    turn = h2 - h1
    turn = torch.where(grey, 0, torch.where(turn > 180, turn - 360, torch.where(turn < -180, turn + 360, turn)))
    sharp = 2 * (c1 * c2).sqrt() * torch.sin(torch.deg2rad(turn / 2))
    l, c, both = (l1 + l2) / 2, (c1 + c2) / 2, h1 + h2  # noqa: E741 - lightness
    h = torch.where((h1 - h2).abs() <= 180, both / 2, torch.where(both < 360, both / 2 + 180, both / 2 - 180))
    h = torch.where(grey, both, h)
    t = 1 - 0.17 * _cos(h - 30) + 0.24 * _cos(2 * h) + 0.32 * _cos(3 * h + 6) - 0.20 * _cos(4 * h - 63)
    light = (l - 50) ** 2
    s_l, s_c, s_h = 1 + 0.015 * light / (20 + light).sqrt(), 1 + 0.045 * c, 1 + 0.015 * c * t
    twist = torch.deg2rad(60 * torch.exp(-(((h - 275) / 25) ** 2)))
    r_t = -2 * (c**7 / (c**7 + 25.0**7)).sqrt() * torch.sin(twist)
    dl, dc, dh = (l2 - l1) / s_l, (c2 - c1) / s_c, sharp / s_h
    return (dl**2 + dc**2 + dh**2 + r_t * dc * dh).clamp_min(0).sqrt()


def _cos(degrees: Tensor) -> Tensor:
    return torch.cos(degrees * (math.pi / 180))
