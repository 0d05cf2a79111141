"""Batch norms in evaluation mode made cheap: folded into the convolution before them, or one multiplication and addition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class Scaled(nn.Module):
    """What a batch norm in evaluation mode computes: z * scale + shift, channel by channel, for z (B, C, ...).

    PyTorch's own prepares the gradients of its weights too: its backward pass takes several times as long on a CPU.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        assert isinstance(norm, NORMS)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = torch.rsqrt(norm.running_var + norm.eps)
        scale = scale if norm.weight is None else scale * norm.weight
        shift = -norm.running_mean * scale
        self.register_buffer("scale", scale.detach())
        self.register_buffer("shift", (shift if norm.bias is None else shift + norm.bias).detach())

    def forward(self, z: Tensor) -> Tensor:
        """z scaled and shifted."""
        shape = (-1, *[1] * (z.dim() - 2))
        return torch.addcmul(self.shift.view(shape), z, self.scale.view(shape))


def folded(module: nn.Module) -> nn.Module:
    """The module, itself changed: its batch norms folded into the convolution each alone reads, the rest made `Scaled`.

    Which norm reads which convolution is seen by tracing the module, or, where it can't be traced, its parts; its own
    code goes on to run it. Answers change in the last bits. Modules that are used twice, carry hooks or have computed
    weights stay as they are, and so does everything in training mode.
    """
    uses = Counter(id(part) for _, part in module.named_modules(remove_duplicate=False))
    fused: dict[int, nn.Module] = {}
    for conv, norm in list(_pairs(module)):
        if _plain(conv, uses) and _plain(norm, uses):
            assert isinstance(conv, CONVOLUTIONS)
            assert isinstance(norm, NORMS)
            fused |= {id(conv): nn.utils.fuse_conv_bn_eval(conv, norm), id(norm): nn.Identity()}
    for parent in list(module.modules()):
        for name, part in parent.named_children():
            if id(part) in fused:
                setattr(parent, name, fused[id(part)])
            elif _foldable(part) and _plain(part, uses):
                setattr(parent, name, Scaled(part))
    return module


def _pairs(module: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Convolutions and the batch norms that are all that reads them, each called once."""
    try:
        graph = fx.Tracer().trace(module)
    except Exception:  # a forward pass that depends on values; its parts may not
        for part in module.children():
            yield from _pairs(part)
        return
    calls = [node for node in graph.nodes if node.op == "call_module"]
    often = Counter(node.target for node in calls)
    for node in calls:
        norm, before = module.get_submodule(str(node.target)), node.args[0] if node.args else None
        if not _foldable(norm) or not isinstance(before, fx.Node) or before.op != "call_module":
            continue
        conv = module.get_submodule(str(before.target))
        once = often[node.target] == often[before.target] == 1 and len(before.users) == 1
        if once and type(conv) in CONVOLUTIONS and not conv.training:
            yield conv, norm


def _foldable(part: nn.Module) -> bool:
    return type(part) in NORMS and not part.training and getattr(part, "running_mean", None) is not None


def _plain(part: nn.Module, uses: Counter[int]) -> bool:
    """Is this module used in one place, and by nothing but its forward?"""
    hooked = part._forward_hooks or part._forward_pre_hooks or part._backward_hooks or part._backward_pre_hooks
    return uses[id(part)] == 1 and not hooked and not parametrize.is_parametrized(part)
