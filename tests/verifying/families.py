"""Small networks in the manner of the verification competition's families, for export by torch's own exporter."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Patches, a token beside them, batch normalisation, two heads, a residual feed-forward part."""

    def __init__(self, width: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.heads, self.patch = heads, nn.Conv2d(3, width, 4, 4)
        self.token, self.place = nn.Parameter(torch.randn(1, 1, width)), nn.Parameter(torch.randn(1, 5, width) / 10)
        self.first, self.second = nn.BatchNorm1d(width), nn.BatchNorm1d(width)
        self.mixed, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.deep = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.place
        b, n, d = x.shape
        y = self.first(x.transpose(1, 2)).transpose(1, 2)
        q, k, v = (t.reshape(b, n, self.heads, -1).permute(0, 2, 1, 3) for t in self.mixed(y).chunk(3, -1))
        a = torch.softmax(q @ k.transpose(-1, -2) * (d // self.heads) ** -0.5, -1) @ v
        x = x + self.out(a.transpose(1, 2).reshape(b, n, d))
        x = x + self.deep(self.second(x.transpose(1, 2)).transpose(1, 2))
        return self.head(x.mean(1))


class Normalised(nn.Module):
    """A layer normalisation and a GELU, both of which older exporters write out."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.last(F.gelu(self.norm(self.first(x))))


class Shortcut(nn.Module):
    """A residual block whose shortcut takes every second pixel and pads channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(4, 8, 3, 2, 1, groups=2), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        y = torch.relu(self.conv(x) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2)))
        y = F.avg_pool2d(y, y.size(3))
        return self.last(y.view(y.size(0), -1))


class Generated(nn.Module):
    """A generator, enlarging by a transposed convolution or by neighbours, and a discriminator on what it makes."""

    def __init__(self, neighbours: bool) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(5, 64), nn.BatchNorm1d(64), nn.ReLU())
        larger = nn.ConvTranspose2d(4, 4, 4, 2, 1)
        self.larger = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(4, 4, 3, 1, 1)) if neighbours else larger
        self.norm, self.image = nn.BatchNorm2d(4), nn.Conv2d(4, 1, 3, 1, 1)
        self.judge = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(64, 1))

    def forward(self, x: Tensor) -> Tensor:
        """How real it looks."""
        x = self.first(x).reshape(-1, 4, 4, 4)
        return torch.sigmoid(self.judge(torch.tanh(self.image(torch.relu(self.norm(self.larger(x)))))))


class Estimates(nn.Module):
    """Two copies of a network on two halves of the input, each a mean over a masked set; their difference."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Sequential(nn.Linear(4, 8), nn.ReLU()), nn.Sequential(nn.Linear(3, 8), nn.ReLU())
        self.last = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """The difference."""
        one, two = torch.split(x, 3, dim=1)
        return self.one(one) - self.one(two)

    def one(self, x: Tensor) -> Tensor:
        """One estimate."""
        p, r, q, s = torch.split(x, [4, 1, 3, 1], dim=2)
        means = [(net(v) * m).sum(1) / m.sum(1) for net, v, m in ((self.a, p, r), (self.b, q, s))]
        return self.last(torch.cat(means, 1))


class Streams(nn.Module):
    """Convolutions over parts of a window, probabilities by squares, and their mean; for two windows at once."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.single = nn.Conv1d(1, 4, 4), nn.Linear(1, 4)
        self.last = nn.Sequential(nn.Linear(44, 8), nn.ReLU(), nn.Linear(8, 6))
        self.register_buffer("levels", torch.arange(6.0).reshape(6, 1))

    def forward(self, x: Tensor) -> Tensor:
        """The difference of means."""
        one, two = torch.split(x, 6, dim=1)
        return self.one(one) - self.one(two)

    def one(self, x: Tensor) -> Tensor:
        """One mean."""
        parts = [torch.relu(self.single(x[:, 0:1, -1]))]
        parts += [torch.relu(self.conv(x[:, i : i + 1, :])).view(-1, 20) for i in (2, 3)]
        p = (torch.relu(self.last(torch.cat(parts, 1))) + 0.1) ** 2
        return (p / p.sum(1, keepdim=True)) @ self.levels


class Power(nn.Module):
    """Power flow: products, sines and cosines of differences, a matrix on the left."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6))
        self.register_buffer("left", torch.randn(3, 3))
        self.register_buffer("order", torch.tensor([2, 0, 1]))

    def forward(self, x: Tensor) -> Tensor:
        """Magnitudes, flows and residuals."""
        z = self.net(x)
        v, a = torch.sigmoid(z[:, :3]) * 0.2 + 0.9, z[:, 3:]
        d = a - a[:, self.order]
        p = v * v[:, self.order] * torch.cos(d) + v.pow(2) * 0.3
        a = a - torch.floor(a / 6.2831855) * 6.2831855
        return torch.cat([v, a, p, -v * torch.sin(d), (self.left @ p.T).T - x[:, :3]], 1)


class Controlled(nn.Module):
    """A controller in a loop with its dynamics, and a quadratic function of the state before and after."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.LeakyReLU(), nn.Linear(8, 2))
        self.register_buffer("form", torch.randn(4, 4) / 3)

    def forward(self, x: Tensor) -> Tensor:
        """What is lost, what there is, and the next state."""
        u = self.net(x) - self.net(torch.zeros_like(x))
        u = torch.relu(u + 1) - torch.relu(u - 1)
        turn = x[:, 1:2]
        force = torch.cat([-torch.sin(turn) * u[:, :1] / 0.5, torch.cos(turn) * u[:, :1] - 9.8], 1)
        after = torch.cat([x[:, :2] + 0.05 * x[:, 2:], x[:, 2:] + 0.05 * force], 1)
        return torch.cat([0.99 * self.level(x) - self.level(after), self.level(x), after], 1)

    def level(self, x: Tensor) -> Tensor:
        """The quadratic function."""
        return (x * (x @ (self.form.T @ self.form))).sum(-1, keepdim=True)


class Segmented(nn.Module):
    """Down and up again beside the fine image, which is padded to fit by sizes that are computed."""

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.up, self.last = nn.Conv2d(3, 4, 3, 1, 1), nn.ConvTranspose2d(4, 4, 2, 2), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Probabilities of every pixel."""
        fine = torch.relu(self.fine(x))
        up = self.up(F.avg_pool2d(fine, 2))
        dy, dx = fine.shape[2] - up.shape[2], fine.shape[3] - up.shape[3]
        up = F.pad(up, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
        return torch.softmax(self.last(torch.cat([fine, up], 1)), 1)


class Detected(nn.Module):
    """Pools and enlargements side by side, and boxes decoded from a grid."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 6, 2, 2), nn.Conv2d(8, 14, 1)
        self.register_buffer("grid", torch.rand(1, 2, 4, 4, 2))
        self.register_buffer("sizes", torch.rand(1, 2, 1, 1, 2))

    def forward(self, x: Tensor) -> Tensor:
        """Boxes and classes."""
        x = F.leaky_relu(self.first(x), 0.1)
        q = F.interpolate(F.max_pool2d(x, 2), scale_factor=2, mode="nearest")
        y = self.last(torch.cat([F.max_pool2d(x, 5, 1, 2), q], 1)).view(x.shape[0], 2, 7, 4, 4)
        xy, wh, rest = y.permute(0, 1, 3, 4, 2).contiguous().sigmoid().split((2, 2, 3), 4)
        return torch.cat(((xy * 2 + self.grid) * 8, (wh * 2) ** 2 * self.sizes, rest), 4).view(x.shape[0], 32, 7)


class Binary(nn.Module):
    """Channels last, and signs for activations."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3)
        self.last = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Probabilities."""
        x = torch.sign(self.norm(F.max_pool2d(self.first(x.permute(0, 3, 1, 2)), 2)))
        return torch.softmax(self.last(torch.sign(self.second(x)).permute(0, 2, 3, 1).reshape(-1, 16)), -1)


FAMILIES: dict[str, tuple[type[nn.Module] | object, tuple[int, ...], bool]] = {
    "attention": (Attention, (1, 3, 8, 8), True),
    "attention, one row": (Attention, (1, 3, 8, 8), False),
    "normalised": (Normalised, (1, 6), True),
    "shortcut": (Shortcut, (1, 4, 8, 8), True),
    "generated": (lambda: Generated(False), (1, 5), True),
    "generated, neighbours": (lambda: Generated(True), (1, 5), True),
    "estimates": (Estimates, (1, 6, 9), True),
    "streams": (Streams, (1, 12, 8), True),
    "power": (Power, (1, 4), True),
    "controlled": (Controlled, (1, 4), True),
    "segmented": (Segmented, (1, 3, 7, 7), False),
    "detected": (Detected, (1, 3, 8, 8), False),
    "binary": (Binary, (1, 10, 10, 3), True),
}
"""A maker, the shape of one input, and whether the batch is left open."""
