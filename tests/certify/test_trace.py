"""Tracing names every operation, or refuses by name; it never skips."""

import operator

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from robustly.certify.trace import trace
from robustly.certify.types import UnsupportedOperator


def net_of(forward, **parts):
    class Custom(nn.Module):
        def __init__(self):
            super().__init__()
            for name, part in parts.items():
                setattr(self, name, part)

        def forward(self, x):
            return forward(self, x)

    return Custom().eval()


def names(net):
    return [o.name for o in trace(net)]


def test_layers_functions_and_methods_have_one_name():
    nested = nn.Sequential(nn.Sequential(nn.Flatten(), nn.Linear(4, 4)), nn.ReLU()).eval()
    assert names(nested) == ["input", "flatten", "linear", "relu", "output"]
    for forward in (lambda s, x: F.relu(x), lambda s, x: torch.relu(x), lambda s, x: x.relu(), lambda s, x: x.clone()):
        if "clone" in forward.__code__.co_names:
            with pytest.raises(UnsupportedOperator, match="operator clone at node clone"):
                trace(net_of(forward))
        else:
            assert names(net_of(forward)) == ["input", "relu", "output"]


def test_a_subclass_is_known_only_while_it_keeps_forward():
    class Named(nn.Linear):
        pass

    class Scaled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    assert names(nn.Sequential(Named(2, 2)).eval()) == ["input", "linear", "output"]
    assert "mul" in names(nn.Sequential(Scaled(2, 2)).eval())


def test_in_place_operations_are_refused_where_another_reader_would_see_them():
    def twice(s, x):
        h = s.a(x)
        y = F.relu(h, inplace=True)
        return y + h

    def through_a_view(s, x):
        h = s.a(x)
        h.flatten(1).relu_()
        return h

    def rebound(s, x):
        h = F.relu(s.a(x), inplace=True)
        h += 1.0
        return h

    for forward in (twice, through_a_view):
        with pytest.raises(UnsupportedOperator, match="overwrites a value"):
            trace(net_of(forward, a=nn.Linear(2, 2)))
    assert names(net_of(rebound, a=nn.Linear(2, 2)))[-3:] == ["relu", "add", "output"]


def test_hooks_patches_randomness_and_control_flow_are_refused():
    hooked = nn.Sequential(nn.Linear(2, 2)).eval()
    hooked[0].register_forward_hook(lambda m, i, o: o + 1)
    patched = nn.Sequential(nn.Linear(2, 2)).eval()
    patched.forward = lambda x: x  # type: ignore[method-assign]
    noisy = net_of(lambda s, x: x + torch.randn(3))
    branching = net_of(lambda s, x: x if x.sum() > 0 else -x)
    for net, words in ((hooked, "hook"), (patched, "patched"), (noisy, "random"), (branching, "cannot be traced")):
        with pytest.raises(UnsupportedOperator, match=words):
            trace(net)


def test_tracing_leaves_the_module_and_the_random_state_as_they_were():
    net = net_of(lambda s, x: x - torch.tensor([0.5]))
    before, state = set(vars(net)), torch.get_rng_state()
    operations = trace(net)
    assert set(vars(net)) == before
    assert torch.equal(torch.get_rng_state(), state)
    constant = next(o for o in operations if o.name == "constant")
    assert constant.args[0].tolist() == [0.5]


def test_several_inputs_are_refused():
    class Two(nn.Module):
        def forward(self, x, y):
            return operator.add(x, y)

    with pytest.raises(UnsupportedOperator, match="exactly one input"):
        trace(Two().eval())
