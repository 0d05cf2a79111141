"""robustly attack universal: one change for all examples, and data with channels last."""

import re

import numpy as np
import pytest

UNIVERSAL = ("attack", "universal", "net.py:counted", "data.npz", "--threat")


def test_the_rate_and_the_saved_change_are_those_of_the_model(here, run, monkeypatch):
    monkeypatch.setenv("ROWS", str(here / "rows"))
    said = run(*UNIVERSAL, "linf:0.25", "--set", "times=2", "--out", "u.npz")
    assert said.code == 0, said.err
    seen = len((here / "rows").read_text())
    assert int(re.search(r"passes ([\d,]+) forward", said.out)[1].replace(",", "")) == seen
    with np.load(here / "u.npz", allow_pickle=False) as saved, np.load(here / "data.npz") as data:
        assert np.abs(saved["change"]).max() <= 0.25 + 1e-6
        sums = saved["x_adv"][:, :3] + saved["x_adv"][:, 3:]
        assert ((sums.argmax(1) != saved["y"])[saved["fooled"]]).all()
        assert saved["fooled"].sum() >= 8  # a third are of each class
        read = int(saved["read"].sum())
        assert (
            f"fooled {saved['fooled'].sum()} of {read} by one change: {100 * saved['fooled'].sum() / read:.1f} %"
            in said.out
        )
        assert np.allclose(saved["x_adv"], np.clip(data["x"] + saved["change"], 0, 1))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--target", "1"), "takes no --target"),
        (("--queries", "9"), "takes no --queries"),
        (("--set", "tims=2"), 'no argument "tims". Did you mean "times"'),
        (("--set", "times=a"), "times of universal must be a whole number"),
    ],
)
def test_what_it_does_not_take_is_refused(here, run, words, said):
    out = run(*UNIVERSAL, "linf:0.1", *words)
    assert out.code == 2
    assert said in out.err


CHANNELS = """
import torch
from torch import nn
from robustly import takes_hwc


def first():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(48, 3)).eval()


class Last(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = first()

    def forward(self, z):
        return self.net(z.movedim(-1, 1))


def last():
    return takes_hwc(Last().eval())
"""


def test_images_with_their_channels_last_are_saved_so(here, run):
    import sys

    import torch

    (here / "channels.py").write_text(CHANNELS)
    x = np.random.default_rng(0).uniform(0, 1, (6, 6, 5, 3)).astype(np.float32)
    space: dict = {}
    exec(CHANNELS, space)
    y = space["first"]()(torch.from_numpy(x).permute(0, 3, 1, 2)).argmax(1).numpy()
    np.savez(here / "images.npz", x=x, y=y)
    assert "channels" not in sys.modules
    for model in ("channels.py:first", "channels.py:last"):
        said = run("attack", "pgd", model, "images.npz", "--threat", "linf:0.1", "--layout", "hwc", "--out", "adv.npz")
        assert said.code == 0, said.err
        with np.load(here / "adv.npz") as saved:
            assert saved["x_adv"].shape == x.shape
            assert np.abs(saved["x_adv"] - x[saved["index"]]).max() <= 0.1 + 1e-6
            assert saved["success"].any()
    said = run("audit", "channels.py:last", "images.npz", "--threat", "linf:0.1", "--plan", "quick", "--layout", "hwx")
    assert said.code == 2
    assert 'unknown layout "hwx"' in said.err
    said = run("attack", "universal", "channels.py:last", "images.npz", "--threat", "linf:0.2", "--out", "u.npz")
    assert said.code == 0, said.err
    with np.load(here / "u.npz") as saved:
        assert saved["change"].shape == (6, 5, 3)
