"""Models from files: Python, weights, TorchScript, torch.export; and what a file may not do."""

import json
import os
import pickle
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from robustly.adapters.models import load_model
from robustly.core.errors import UsageError
from robustly.oracle import Access


def network(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 3)).eval()


X = torch.rand(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))

SOURCE = """
import torch
from neighbour import WIDTH
from torch import nn

def make():
    torch.manual_seed(7)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 3)).eval()

def training():
    return make().train()

def function():
    return lambda x: x.flatten(1)[:, :3]

def number():
    return 3

def wide(width):
    return make()

def broken():
    raise KeyError("no such layer")
"""


class Bomb:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.marker),)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "neighbour.py").write_text("WIDTH = 5\n")
    (tmp_path / "my nets.py").write_text(SOURCE)
    return tmp_path / "my nets.py"


def test_a_function_of_a_file_makes_the_model(file: Path) -> None:
    model = load_model(f"{file}:make")
    assert model.ask(X).shape == (4, 3)
    assert model.name == "my nets.py:make"
    assert torch.equal(load_model(f"{file}:function").ask(X), X.flatten(1)[:, :3])


@pytest.mark.parametrize(
    ("word", "told"),
    [
        (":training", r"model\.eval\(\)"),
        (":number", "returns a int"),
        (":wide", "needs arguments"),
        (":broken", r"KeyError: 'no such layer' \(line 23\)"),
        (":mak", 'no function "mak"'),
        ("", "my nets.py:"),
    ],
)
def test_a_file_that_makes_no_model_says_why(file: Path, word: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        load_model(f"{file}{word}")


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no file .*gone\.py.*file\.py:function"):
        load_model(f"{tmp_path}/gone.py:make")
    (tmp_path / "bad.py").write_text("x = 1\ndef make(:\n")
    with pytest.raises(UsageError, match=r"bad.py could not be run: SyntaxError.*line 2"):
        load_model(f"{tmp_path}/bad.py:make")
    with pytest.raises(UsageError, match=r'what kind of model "resnet"'):
        load_model("resnet")


@pytest.mark.parametrize("kind", ["safetensors", "pt", "pt nested", "pth parallel"])
def test_weights_are_loaded_strictly(file: Path, tmp_path: Path, kind: str) -> None:
    wanted, path = network(3), tmp_path / f"w.{kind.split()[0]}"
    state = wanted.state_dict()
    if kind == "safetensors":
        save_file(state, path)
    elif "nested" in kind:
        torch.save({"state_dict": state, "epoch": 3}, path)
    elif "parallel" in kind:
        torch.save({f"module.{k}": v for k, v in state.items()}, path)
    else:
        torch.save(state, path)
    model = load_model(f"{file}:make", weights=path)
    assert torch.equal(model.ask(X), wanted(X))
    assert not torch.equal(load_model(f"{file}:make").ask(X), wanted(X))
    assert any("state_dict" in n or "module." in n for n in model.notes) is (" " in kind)


def test_weights_that_do_not_fit_are_named(file: Path, tmp_path: Path) -> None:
    state = network().state_dict()
    state["9.bias"] = state.pop("1.bias")
    state["3.weight"] = torch.zeros(3, 6)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(
        UsageError, match=r"missing: 1\.bias; unexpected: 9\.bias; wrong shape: 3\.weight is \(3, 6\), not \(3, 5\)"
    ):
        load_model(f"{file}:make", weights=tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").write_bytes(b"\x00" * 30)
    with pytest.raises(UsageError, match="not a whole safetensors file"):
        load_model(f"{file}:make", weights=tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match=r"no weights file .*gone\.pt"):
        load_model(f"{file}:make", weights=tmp_path / "gone.pt")
    with pytest.raises(UsageError, match=r"keeps its weights"):
        load_model(network(), weights=tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match=r"takes no --weights"):
        load_model(f"{file}:function", weights=tmp_path / "w.safetensors")


@pytest.mark.parametrize("legacy", [False, True])
def test_a_malicious_pickle_runs_nothing_unless_trusted(file: Path, tmp_path: Path, legacy: bool) -> None:
    marker, path = tmp_path / "ran", tmp_path / "w.pt"
    if legacy:
        path.write_bytes(pickle.dumps(Bomb(marker)))
    else:
        torch.save({"a": Bomb(marker)}, path)
    for call in (lambda: load_model(str(path)), lambda: load_model(f"{file}:make", weights=path)):
        with pytest.raises(UsageError, match=r"safetensors.*--trust-pickle"):
            call()
    assert not marker.exists()
    with pytest.raises(UsageError):  # it holds no weights, but it was asked for, so it ran
        load_model(f"{file}:make", weights=path, trust_pickle=True)
    assert marker.exists()


def test_a_pickled_module_needs_trust_and_weights_alone_are_no_model(tmp_path: Path) -> None:
    torch.save(network(), tmp_path / "whole.pt")
    with pytest.raises(UsageError, match="--trust-pickle"):
        load_model(str(tmp_path / "whole.pt"))
    assert torch.equal(load_model(str(tmp_path / "whole.pt"), trust_pickle=True).ask(X), network()(X))
    torch.save(network().state_dict(), tmp_path / "weights.pt")
    with pytest.raises(UsageError, match=r"weights only.*model\.py:make --weights"):
        load_model(str(tmp_path / "weights.pt"))
    (tmp_path / "empty.pt").touch()
    with pytest.raises(UsageError, match="0 bytes"):
        load_model(str(tmp_path / "empty.pt"))
    with pytest.raises(UsageError, match="no model file"):
        load_model(str(tmp_path / "gone.pt"))


def scripted(module: nn.Module, path: Path) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(module).save(str(path))
    return str(path)


def same_model(word: str, module: nn.Module) -> None:
    model = load_model(word)
    z, w = X.clone().requires_grad_(), X.clone().requires_grad_()
    scores = model.answer(z)
    assert torch.allclose(scores, module(w), atol=1e-6)
    grads = (
        torch.autograd.grad(scores.logsumexp(1).sum(), z)[0],
        torch.autograd.grad(module(w).logsumexp(1).sum(), w)[0],
    )
    assert torch.allclose(*grads, atol=1e-6)
    assert grads[0].abs().amax() > 1e-3
    assert torch.equal(model.ask(X[:1]), model.ask(X)[:1]) or torch.allclose(
        model.ask(X[:1]), model.ask(X)[:1], atol=1e-6
    )
    assert (model.access, model.module) == (Access.GRADIENTS, None)


@pytest.mark.parametrize("suffix", ["pt", "ts"])
def test_torchscript_is_known_by_its_content(tmp_path: Path, suffix: str) -> None:
    same_model(scripted(network(1), tmp_path / f"m.{suffix}"), network(1))
    with pytest.raises(UsageError, match=r"model\.eval\(\)"):
        load_model(scripted(network().train(), tmp_path / "train.pt"))


def test_torchscript_that_touches_files_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "shared"

    class Reads(nn.Module):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1) + torch.from_file(self.name, True, 12)

    word = scripted(Reads(str(target)).eval(), tmp_path / "m.pt")
    with pytest.raises(UsageError, match=r"from_file.*--trust-pickle"):
        load_model(word)
    load_model(word, trust_pickle=True).ask(X)
    assert target.exists()


def exported(module: nn.Module, path: Path, free: bool = True) -> str:
    shapes = ({0: torch.export.Dim("batch")},) if free else None
    torch.export.save(torch.export.export(module, (X,), dynamic_shapes=shapes), path)
    return str(path)


@pytest.mark.parametrize("free", [True, False])
def test_an_exported_program_is_taken_whatever_its_batch(tmp_path: Path, free: bool) -> None:
    word = exported(network(2), tmp_path / "m.pt2", free)
    same_model(word, network(2))
    model = load_model(word)
    many = torch.cat((X, X[:3]))
    assert torch.allclose(model.ask(many), network(2)(many), atol=1e-6)
    assert any("batch size 4 is fixed" in note for note in model.notes) is not free


@pytest.mark.filterwarnings("ignore")
def test_an_exported_program_in_training_mode_is_refused(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(12, 3)).train()
    with pytest.raises(UsageError, match=r"training mode \(aten\.dropout.*model\.eval\(\)"):
        load_model(exported(module, tmp_path / "m.pt2"))


def rewritten(path: Path, edit: object) -> str:
    """The archive with each member given to `edit(name, content)`."""
    out = path.with_name("edited.pt2")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            new.writestr(name, edit(name, old.read(name)))  # type: ignore[operator]
    return str(out)


def edited_program(path: Path, old: str, new: str) -> str:
    def edit(name: str, content: bytes) -> bytes:
        if not name.endswith("models/model.json"):
            return content
        assert old.encode() in content
        return content.replace(old.encode(), json.dumps(new)[1:-1].encode())

    return rewritten(path, edit)


def test_an_exported_file_can_run_nothing(tmp_path: Path) -> None:
    marker, path = tmp_path / "ran", tmp_path / "m.pt2"
    exported(network(), path)
    torch.save((Bomb(marker),), tmp_path / "bomb.pt")
    bomb = (tmp_path / "bomb.pt").read_bytes()
    pickled = rewritten(path, lambda name, content: bomb if "sample_inputs" in name else content)
    with pytest.raises(UsageError, match=r"pickle that needs code.*--trust-pickle"):
        load_model(pickled)
    assert not marker.exists()
    with pytest.raises(UsageError, match="cannot be loaded"):
        load_model(pickled, trust_pickle=True)
    assert marker.exists()  # so the danger is real
    symbol = next(
        s
        for s in ("Symbol('s" + str(i) + "'" for i in range(200))
        if s.encode() in zipfile.ZipFile(path).read("m/models/model.json")
    )
    for old, new, told in (
        ("torch.ops.aten.relu.default", "torch.os.system", "no tensor operation"),
        ("torch.ops.aten.relu.default", "torch.ops.aten.from_file.default", "no tensor operation"),
        (symbol, f"__import__('os').mkdir('{tmp_path}/evaluated') or Symbol('s77'", "no plain arithmetic"),
        ("builtins.tuple", "collections.defaultdict", "class of its own"),
    ):
        with pytest.raises(UsageError, match=told):
            load_model(edited_program(path, old, new))
    assert not (tmp_path / "evaluated").exists()
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("m/data/aotinductor/model/x.so", b"")
    with pytest.raises(UsageError, match="no plain part"):
        load_model(str(path))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    word = exported(network(), tmp_path / "m.pt2")
    content = (tmp_path / "m.pt2").read_bytes()
    (tmp_path / "m.pt2").write_bytes(content[: len(content) // 2])
    with pytest.raises(UsageError, match=r"m\.pt2"):
        load_model(word)
    script = Path(scripted(network(), tmp_path / "s.pt"))
    script.write_bytes(script.read_bytes()[:-900])
    with pytest.raises(UsageError, match=r"s\.pt"):
        load_model(str(script))


def test_a_carried_network_has_its_range_and_classes() -> None:
    from robustly import zoo

    model = load_model(f"zoo:{zoo.names()[0]}")
    assert (model.domain.low, model.domain.high, model.classes, len(model.labels)) == (0.0, 1.0, 10, 10)
    with pytest.raises(UsageError, match="zoo has no network"):
        load_model("zoo:nothing")
