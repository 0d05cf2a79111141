"""Random bits per example: a key is two 32-bit words a row, and every draw is a pure function of the key.

Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), written on whole tensors, so that an
example draws the same bits alone, in any batch, on any shard, and after a resume.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_M0, _M1 = 0xD2511F53, 0xCD9E8D57  # the round multipliers and the key increments of the paper, table 2
_W0, _W1 = 0x9E3779B9, 0xBB67AE85


def from_ids(seed: int, ids: Sequence[str], device: torch.device | str = "cpu") -> Tensor:
    """Keys (B, 2) from a seed and one identity a row, such as the hash of its content."""
    words = []
    for name in ids:
        digest = hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogatepass")).digest()
        words.append([int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")])
    return torch.tensor(words, dtype=torch.int64, device=device).reshape(-1, 2)


def fold(key: Tensor, *data: int) -> Tensor:
    """A new independent key (B, 2) for each sequence of integers (a restart, a step)."""
    for value in data:
        key = _philox(key, torch.tensor([value & _MASK], device=key.device), stream=1)[..., 0, :2]
    return key


def bits(key: Tensor, count: int) -> Tensor:
    """`count` uniform 32-bit words a row, as int64 (B, count)."""
    blocks = torch.arange(-(-count // 4), device=key.device)
    return _philox(key, blocks, stream=0).reshape(len(key), -1)[:, :count]


def uniform(key: Tensor, shape: Sequence[int]) -> Tensor:
    """Uniform on [0, 1), float32 (B, *shape), with 24 random bits."""
    return (bits(key, math.prod(shape)) >> 8).to(torch.float32).mul_(2.0**-24).reshape(len(key), *shape)


def normal(key: Tensor, shape: Sequence[int]) -> Tensor:
    """Standard normal, float32 (B, *shape), by Box and Muller in float64."""
    count = math.prod(shape)
    words = bits(key, 2 * count).to(torch.float64).add_(0.5).mul_(2.0**-32)
    radius, angle = words[:, :count].log().mul_(-2).sqrt_(), words[:, count:] * (2 * math.pi)
    return (radius * angle.cos()).float().reshape(len(key), *shape)


def integers(key: Tensor, below: Tensor | int, shape: Sequence[int] = ()) -> Tensor:
    """Uniform integers in [0, below), int64 (B, *shape); `below` is a number or (B,). The bias is under below / 2^32."""
    words = bits(key, math.prod(shape)).reshape(len(key), *shape)
    limit = below.reshape(-1, *(1,) * len(shape)) if isinstance(below, Tensor) else below
    return (words * limit) >> 32


def permutation(key: Tensor, n: int) -> Tensor:
    """A uniform order of 0..n-1 a row, int64 (B, n)."""
    return torch.argsort(bits(key, n), dim=1, stable=True)


def _philox(key: Tensor, counter: Tensor, stream: int) -> Tensor:
    """Philox4x32-10 for keys (B, 2) and block numbers (C,): words (B, C, 4)."""
    k0, k1 = key[:, :1], key[:, 1:]
    x0 = counter.expand(len(key), -1)
    x1, x2, x3 = torch.zeros_like(x0), torch.full_like(x0, stream), torch.zeros_like(x0)
    for _ in range(10):
        p0, p1 = x0 * _M0, x2 * _M1  # 64-bit products: int64 wraps, and its bits are those of the unsigned product
        x0, x1, x2, x3 = ((p1 >> 32) & _MASK) ^ x1 ^ k0, p1 & _MASK, ((p0 >> 32) & _MASK) ^ x3 ^ k1, p0 & _MASK
        k0, k1 = (k0 + _W0) & _MASK, (k1 + _W1) & _MASK
    return torch.stack((x0, x1, x2, x3), -1)
