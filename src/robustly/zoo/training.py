"""How the carried classifiers are trained: one loop, and one loss for each kind of training."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional

from robustly.zoo.architecture import small_convnet

EPS = 0.1
"""The linf radius the robust networks are trained for, in pixel values of [0, 1]."""

Loss = Callable[[nn.Sequential, Tensor, Tensor, float, torch.Generator], Tensor]
"""A loss takes (net, images (B, 1, 28, 28), labels (B,), progress in [0, 1], random generator) and returns a scalar."""


@dataclass(frozen=True)
class Recipe:
    """What decides a training run besides the data and the seed."""

    loss: Loss
    epochs: int
    rate: float  # Adam's peak step size; linear warm-up, then a cosine to zero
    batch: int = 128
    flip: bool = True  # mirror every image left to right with probability 1/2
    decay: float = 0.999  # of the running average of the weights, which is what is kept


def train(recipe: Recipe, x: Tensor, y: Tensor, seed: int, steps: int | None = None) -> nn.Sequential:
    """Train a network on images x (N, 1, 28, 28) in [0, 1] with labels y (N,), int64; stop after `steps` if given.

    The result depends on the arguments and torch's number of threads alone; the global random state is not touched.
    """
    rng = torch.Generator().manual_seed(seed)
    net = initialised(small_convnet(), rng)
    average = {name: value.clone() for name, value in net.state_dict().items()}
    optimiser = torch.optim.Adam(net.parameters(), lr=recipe.rate)
    per_epoch = len(x) // recipe.batch
    losses, start = 0.0, time.monotonic()
    for step, rows in enumerate(islice(batches(len(x), recipe, rng), steps)):
        images = x[rows]
        if recipe.flip:
            images = torch.where(torch.rand(len(rows), 1, 1, 1, generator=rng) < 0.5, images.flip(3), images)
        progress = step / (recipe.epochs * per_epoch)
        optimiser.param_groups[0]["lr"] = recipe.rate * one_cycle(progress)
        loss = recipe.loss(net, images.contiguous(memory_format=torch.channels_last), y[rows], progress, rng)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 8.0)
        optimiser.step()
        # The average forgets faster in the beginning, when the first weights are not worth remembering.
        keep = min(recipe.decay, (step + 1) / (step + 11))
        for name, value in net.state_dict().items():
            average[name].lerp_(value, 1 - keep)
        losses += loss.item()
        if (step + 1) % per_epoch == 0:
            mean, seconds = losses / per_epoch, time.monotonic() - start
            print(f"  epoch {(step + 1) // per_epoch}/{recipe.epochs}  loss {mean:.4f}  {seconds:.0f} s", flush=True)
            losses = 0.0
    net.load_state_dict(average)
    return net.requires_grad_(False).eval()


def batches(count: int, recipe: Recipe, rng: torch.Generator) -> Iterator[Tensor]:
    """The indices (batch,) of every step: `count` examples in a new order each epoch, the last odd ones left out."""
    for _ in range(recipe.epochs):
        order = torch.randperm(count, generator=rng)
        yield from order.split(recipe.batch)[: count // recipe.batch]


def initialised(net: nn.Sequential, rng: torch.Generator) -> nn.Sequential:
    """The net with He-normal weights and zero biases, drawn from `rng` and not from the global generator."""
    for name, values in net.named_parameters():
        if name.endswith("weight"):
            nn.init.kaiming_normal_(values, nonlinearity="relu", generator=rng)
        else:
            nn.init.zeros_(values)
    return net


def one_cycle(progress: float, warm: float = 0.05) -> float:
    """Share of the peak step size: up in a line until `warm`, then down along a cosine to zero."""
    if progress < warm:
        return progress / warm
    return 0.5 + 0.5 * float(torch.cos(torch.tensor(torch.pi * (progress - warm) / (1 - warm))))


def ramp(progress: float, start: float, end: float) -> float:
    """0 before `start`, 1 after `end`, a line between."""
    return min(max((progress - start) / (end - start), 0.0), 1.0)


def clean_loss(net: nn.Sequential, x: Tensor, y: Tensor, progress: float, rng: torch.Generator) -> Tensor:
    """Cross entropy on the images as they are."""
    return functional.cross_entropy(net(x), y)


def adversarial_loss(net: nn.Sequential, x: Tensor, y: Tensor, progress: float, rng: torch.Generator) -> Tensor:
    """Cross entropy on PGD points (Madry et al., ICLR 2018, arXiv 1706.06083), the radius growing to EPS at first."""
    net.requires_grad_(False)  # the search needs no gradient of the weights
    *_, z = pgd_walk(net, x, y, EPS * ramp(progress, 0.0, 0.15), 5, 0.3, rng)
    net.requires_grad_(True)
    return functional.cross_entropy(net(z), y)


def pgd_walk(
    net: nn.Sequential, x: Tensor, y: Tensor, eps: float, steps: int, size: float, rng: torch.Generator
) -> Iterator[Tensor]:
    """The points of PGD after each step, in the linf ball within [0, 1] from a uniform start; `size` is in radii."""
    low, high = (x - eps).clamp(min=0), (x + eps).clamp(max=1)
    z = low + (high - low) * torch.rand(x.shape, generator=rng)
    for _ in range(steps):
        z = z.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(functional.cross_entropy(net(z), y), z)
        z = (z.detach() + size * eps * gradient.sign()).clamp(low, high)
        yield z


def certified_loss(net: nn.Sequential, x: Tensor, y: Tensor, progress: float, rng: torch.Generator) -> Tensor:
    """Interval-bound training (Gowal et al., ICCV 2019, arXiv 1810.12715, eq. 12).

    kappa * clean + (1 - kappa) * worst case, where the radius grows from 0 to EPS and kappa falls from 1 to 0 over
    the same part of the run.
    """
    share = ramp(progress, 0.02, 0.5)
    worst = functional.cross_entropy(-lowest_margins(net, x, y, EPS * share), y)
    return worst if share == 1 else (1 - share) * functional.cross_entropy(net(x), y) + share * worst


def lowest_margins(net: nn.Sequential, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """Interval lower bounds (B, 10) on logit[y] - logit[j] over the linf ball within [0, 1]; 0 where j = y.

    Centre and radius pass through the layers (Gowal et al., section 3.1); the last layer is merged with the margin
    (section 3.2), which is tighter than bounding each logit alone.
    """
    low, high = (x - eps).clamp(min=0), (x + eps).clamp(max=1)
    centre, radius = (low + high) / 2, (high - low) / 2
    *layers, last = net
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            centre = layer(centre)
            radius = functional.conv2d(radius, layer.weight.abs(), None, layer.stride, layer.padding)
        elif isinstance(layer, nn.Linear):
            centre, radius = layer(centre), functional.linear(radius, layer.weight.abs())
        elif isinstance(layer, nn.ReLU):
            low, high = (centre - radius).relu(), (centre + radius).relu()
            centre, radius = (low + high) / 2, (high - low) / 2
        elif isinstance(layer, nn.Flatten):
            centre, radius = centre.flatten(1), radius.flatten(1)
        else:
            raise TypeError(f"no interval rule for {type(layer).__name__}")
    if not isinstance(last, nn.Linear):
        raise TypeError(f"the last layer must be Linear, not {type(last).__name__}")
    weight = last.weight[:, None] - last.weight[None]  # (10, 10, H): row y minus row j
    bias = last.bias[:, None] - last.bias[None]
    middle = (weight[y] @ centre[:, :, None]).squeeze(2) + bias[y]
    return middle - (weight.abs()[y] @ radius[:, :, None]).squeeze(2)


RECIPES = {
    "fashion_plain": Recipe(clean_loss, epochs=14, rate=2e-3),
    "fashion_adversarial": Recipe(adversarial_loss, epochs=22, rate=2e-3),
    "fashion_certified": Recipe(certified_loss, epochs=60, rate=2e-3, flip=False),
}
