"""Losses of certified training: what a trainer minimises so that a certifier has something to prove.

Each is a mean over the batch, with a graph to the network's weights. A search for adversarial inputs is given as a function from
inputs (B, ...) and a radius to inputs within it, so that any attack serves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustly.core.errors import UsageError
from robustly.core.keys import bits
from robustly.steps.boxes import worst_scores
from robustly.steps.lines import worst_by_lines
from robustly.steps.noises import Noise
from robustly.threats.base import Domain

Search: TypeAlias = Callable[[Tensor, float], Tensor]


def ibp(network: nn.Sequential, x: Tensor, y: Tensor, eps: float, domain: Domain = Domain()) -> Tensor:  # noqa: B008
    """Cross-entropy of the worst scores that interval bounds allow over linf eps (Gowal et al. 2018, arXiv:1810.12715).

    x: (B, ...) within the domain. Trainers ramp eps up from 0 and mix in the clean loss.
    """
    low, high = (x - eps).clamp_min(domain.low), (x + eps).clamp_max(domain.high)
    return F.cross_entropy(worst_scores(network, low, high, y), y)


def crown_ibp(
    network: nn.Sequential,
    x: Tensor,
    y: Tensor,
    eps: float,
    *,
    share: float = 1.0,
    domain: Domain = Domain(),  # noqa: B008 - frozen
) -> Tensor:
    """The same with worst scores that are `share` by linear bounds and for the rest by intervals (Zhang et al. 2020, arXiv:1906.06316).

    share: beta of the paper, which goes from 1 to 0 as eps reaches its size: linear bounds are tighter at first and train more
    steadily, intervals end better. 0 is `ibp`. A pass costs about K + 1 of `ibp`'s for K classes. As there, trainers mix in the
    clean loss, by kappa from 1 to 1/2 or 0.
    """
    _check_share(share)
    low, high = (x - eps).clamp_min(domain.low), (x + eps).clamp_max(domain.high)
    if share == 0:
        return F.cross_entropy(worst_scores(network, low, high, y), y)
    tight = worst_by_lines(network, low, high, y)
    worst = tight if share == 1 else share * tight + (1 - share) * worst_scores(network, low, high, y)
    return F.cross_entropy(worst, y)


def sabr(
    network: nn.Sequential,
    x: Tensor,
    y: Tensor,
    eps: float,
    search: Search,
    *,
    share: float = 0.4,
    domain: Domain = Domain(),  # noqa: B008 - frozen
) -> Tensor:
    """The same over a small box around an adversarial input (Mueller et al. 2023, arXiv:2210.04871).

    share: of eps, the radius of the small box; the search has the rest. 1 is `ibp`, 0 adversarial training.
    """
    _check_share(share)
    near = search(x, (1 - share) * eps).detach()
    low, high = (near - share * eps).maximum(x - eps), (near + share * eps).minimum(x + eps)
    return F.cross_entropy(worst_scores(network, low.clamp_min(domain.low), high.clamp_max(domain.high), y), y)


def mtl_ibp(
    network: nn.Sequential,
    x: Tensor,
    y: Tensor,
    eps: float,
    search: Search,
    *,
    share: float = 0.05,
    domain: Domain = Domain(),  # noqa: B008 - frozen
) -> Tensor:
    """share of the `ibp` loss and the rest of the adversarial one (De Palma et al. 2024, arXiv:2305.13991, section 4.2)."""
    _check_share(share)
    attacked = F.cross_entropy(network(search(x, eps).detach()), y)
    return (1 - share) * attacked + share * ibp(network, x, y, eps, domain)


def smooth_adv(
    network: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, noise: Noise, key: Tensor, *, votes: int = 2
) -> Tensor:
    """Minus the log of the mean softmax over noisy copies (Salman et al. 2019, arXiv:1906.04584, equation 5).

    It is both what SmoothAdv trains on and, as a function of x, what its attack climbs, with the same key, so the same noise, in
    both. key: int64 (B, 2). votes: copies an input.
    """
    drawn = bits(key, 2 * votes).reshape(-1, 2)
    copies = x.repeat_interleave(votes, 0) + noise.draw(drawn, x.shape[1:]).to(x.dtype)
    logs = torch.log_softmax(network(copies), 1).reshape(len(x), votes, -1)
    return F.nll_loss(torch.logsumexp(logs, 1) - torch.log(torch.tensor(float(votes))), y)


def _check_share(share: float) -> None:
    if not 0 <= share <= 1:
        raise UsageError(f"share is between 0 and 1, got {share:g}.")
