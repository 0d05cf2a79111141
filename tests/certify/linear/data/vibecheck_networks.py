"""The random networks of vibecheck.json, from weights that float32 holds exactly. Imports torch alone: the maker runs elsewhere."""

import torch
import torch.nn.functional as F
from torch import nn

SHAPES = {"dense": (6,), "strided": (2, 6, 6), "residual": (3, 5, 5), "joined": (1, 5, 5), "pooled": (2, 6, 6)}


class Dense(nn.Module):
    """Three hidden layers, one of them leaky, and a shortcut around one."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.d = nn.Linear(6, 12), nn.Linear(12, 12), nn.Linear(12, 8), nn.Linear(8, 4)

    def forward(self, x):
        h = F.relu(self.a(x))
        h = h + F.leaky_relu(self.b(h), 0.25)
        return self.d(F.relu(self.c(h)))


class Strided(nn.Module):
    """Strided, padded and transposed convolutions. (Its own reading of grouped ones is not right.)"""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1)
        self.c, self.d = nn.ConvTranspose2d(4, 2, 3, 2, 1), nn.Linear(50, 3)

    def forward(self, x):
        return self.d(F.relu(self.c(F.relu(self.b(F.relu(self.a(x)))))).flatten(1))


class Residual(nn.Module):
    """A block with batch norms around which the input goes too."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 3, 3, 1, 1), nn.Conv2d(3, 3, 3, 1, 1)
        self.m, self.n, self.d = nn.BatchNorm2d(3), nn.BatchNorm2d(3), nn.Linear(75, 4)

    def forward(self, x):
        return self.d(F.relu(x + self.n(self.b(F.relu(self.m(self.a(x)))))).flatten(1))


class Joined(nn.Module):
    """Two branches side by side, a slice of them, and a difference."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.d = nn.Conv2d(1, 2, 2), nn.Conv2d(1, 2, 2), nn.Linear(48, 3)

    def forward(self, x):
        h = torch.cat((F.relu(self.a(x)), F.relu(self.b(x))), 1)
        return self.d(F.relu(0.5 - h[:, 1:]).flatten(1))


class Pooled(nn.Module):
    """Average pooling between convolutions."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.d = nn.Conv2d(2, 4, 3, 1, 1), nn.Conv2d(4, 4, 2), nn.Linear(16, 3)

    def forward(self, x):
        return self.d(F.relu(self.b(F.avg_pool2d(F.relu(self.a(x)), 2))).flatten(1))


def network(kind, seed):
    """A network of a kind with weights that are multiples of 1/512, and a middle of its inputs (1, ...)."""
    made = {"dense": Dense, "strided": Strided, "residual": Residual, "joined": Joined, "pooled": Pooled}[kind]()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in made.state_dict().items():
            if name.endswith("num_batches_tracked"):
                continue
            drawn = torch.randn(value.shape, generator=generator) * (
                value[0].numel() ** -0.5 if value.dim() > 1 else 0.5
            )
            drawn = drawn.abs() + 0.25 if name.endswith("running_var") else drawn
            value.copy_((drawn * 512).round() / 512)
    x = (torch.rand(1, *SHAPES[kind], generator=generator) * 512).round() / 512
    return made.eval().requires_grad_(False), x
