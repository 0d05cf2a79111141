"""Random small networks of every kind of operation that linear bounds know."""

import torch
import torch.nn.functional as F
from torch import nn

CLASSES, SIDE = 3, 6
ACTIVATIONS = [
    nn.ReLU(),
    nn.LeakyReLU(0.2),
    nn.PReLU(init=0.3),
    nn.Sigmoid(),
    nn.Tanh(),
    nn.GELU(),
    nn.GELU("tanh"),
    nn.SiLU(),
    nn.Hardtanh(),
    nn.ReLU6(),
    nn.Softplus(),
    nn.ELU(),
]


class Residual(nn.Module):
    """A residual block with batch norms, a grouped convolution and a strided, channel-padded shortcut."""

    def __init__(self, activation):
        super().__init__()
        self.one, self.norm = nn.Conv2d(2, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4)
        self.two = nn.Conv2d(4, 4, 3, 1, 1, groups=2)
        self.activation, self.head = activation, nn.Linear(4, CLASSES)

    def forward(self, x):
        short = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, 2))
        out = self.two(self.activation(self.norm(self.one(x))))
        return self.head(self.activation(out + short).mean((2, 3)))


class Branches(nn.Module):
    """Branches joined, a dilated convolution, normalisation by buffers, arithmetic with numbers, a transposed convolution."""

    def __init__(self, activation):
        super().__init__()
        self.register_buffer("mean", torch.rand(1, 2, 1, 1))
        self.register_buffer("std", torch.rand(2, 1, 1) + 0.3)
        self.a, self.b = nn.Conv2d(2, 3, 3, padding=2, dilation=2), nn.Conv2d(2, 3, 1)
        self.up = nn.ConvTranspose2d(6, 2, 3, stride=2, padding=1, output_padding=1)
        self.activation, self.head = activation, nn.Linear(2 * (2 * SIDE) ** 2, CLASSES)

    def forward(self, x):
        x = (x - self.mean) / self.std
        h = torch.cat((self.activation(self.a(x)), torch.tanh(self.b(x)) * 0.7 - 0.1), 1)
        h = self.activation(-self.up(h))
        return 1.5 * self.head(h.view(h.size(0), -1)) + 0.25


class Pools(nn.Module):
    """Overlapping, padded and average pooling, over one dimension and two."""

    def __init__(self, activation):
        super().__init__()
        self.one, self.activation = nn.Conv2d(2, 4, 3, padding="same"), activation
        self.two, self.head = nn.Conv1d(4, 3, 2), nn.Linear(3, CLASSES)

    def forward(self, x):
        h = F.max_pool2d(self.activation(self.one(x)), 3, 2, 1)
        h = F.avg_pool2d(h, (1, 3), stride=1).flatten(2)
        h = F.max_pool1d(self.two(h), 2, 1)
        return self.head(torch.squeeze(F.adaptive_avg_pool1d(h, 1), -1))


class Attention(nn.Module):
    """One head of attention over the rows of the input, as transformers have it, and a gate."""

    def __init__(self, activation):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(2 * SIDE, 3) for _ in range(3))
        self.gate, self.head, self.activation = nn.Linear(3, 3), nn.Linear(3, CLASSES), activation

    def forward(self, x):
        tokens = x.permute(0, 2, 1, 3).flatten(2)
        weights = torch.softmax(self.q(tokens) @ self.k(tokens).transpose(1, 2) / 3**0.5, dim=-1)
        h = weights @ self.v(tokens)
        h = h * torch.sigmoid(self.gate(h))
        return self.head(self.activation(h).sum(1))


class Quotient(nn.Module):
    """Numbers divided by their own size, squares, exponentials, maxima."""

    def __init__(self, activation):
        super().__init__()
        self.one, self.two, self.activation = nn.Linear(2 * SIDE * SIDE, 6), nn.Linear(6, CLASSES), activation

    def forward(self, x):
        a, b = self.one(x.flatten(1)).chunk(2, 1)
        size = 0.5 + (a**2).sum(1, keepdim=True)
        h = torch.cat(
            (
                a / size,
                torch.exp(-b.abs()),
            ),
            1,
        )
        return self.two(torch.maximum(h, self.activation(h) * h))


def dense(activation):
    """Two hidden layers."""
    layers = [nn.Linear(2 * SIDE * SIDE, 12), nn.BatchNorm1d(12), activation, nn.Linear(12, 8), activation]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(8, CLASSES))


KINDS = {"dense": dense, **{c.__name__.lower(): c for c in (Residual, Branches, Pools, Attention, Quotient)}}


def network(kind, seed, scale=1.0):
    """A network of a kind in evaluation mode, with random weights, statistics and activation."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = KINDS[kind](ACTIVATIONS[seed % len(ACTIVATIONS)])
        with torch.no_grad():
            for part in net.modules():
                if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
                    part.running_mean.normal_()
                    part.running_var.uniform_(0.2, 3)
                    part.weight.normal_()
                if isinstance(part, (nn.Linear, nn.Conv2d)):
                    part.weight.mul_(scale)
    return net.eval().requires_grad_(False)
