"""The hash of a callable follows whatever its answers come from, and nothing else."""

import functools
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustly.adapters.contents import DEEPEST
from robustly.adapters.digests import callable_digest, module_digest
from robustly.adapters.models import load_model
from robustly.adapters.outputs import Call, scores_of
from robustly.oracle import Model

SCALE = 1.0


def digest(function: Callable[..., Any]) -> str:
    return callable_digest(function)[0]


def network(shift: float = 0.0) -> nn.Linear:
    layer = nn.Linear(3, 2)
    layer.weight.data = torch.arange(6.0).reshape(2, 3) + shift
    layer.bias.data = torch.zeros(2)
    return layer.eval()


class Caller:
    """A callable object with a setting."""

    def __init__(self, net: Any, settings: Any = None) -> None:
        self.net, self.settings = net, settings

    def __call__(self, x: Tensor) -> Tensor:
        return self.net(x)

    def twice(self, x: Tensor) -> Tensor:
        return self.net(x) * 2


def over(net: Any) -> Callable[..., Any]:
    return lambda x: net(x)


def with_default(net: Any) -> Callable[..., Any]:
    def call(x: Any, net: Any = net) -> Any:
        return net(x)

    return call


def with_keyword(net: Any) -> Callable[..., Any]:
    def call(x: Any, *, net: Any = net) -> Any:
        return net(x)

    return call


def undisturbed(net: Any) -> Callable[..., Any]:
    return torch.no_grad()(over(net))


HOLDERS = (
    over,
    with_default,
    with_keyword,
    undisturbed,
    Caller,
    lambda net: Caller(net).twice,
    lambda net: functools.partial(Caller.__call__, Caller(net)),
    lambda net: functools.partial(over, net=net),
    lambda net: functools.lru_cache(over(net)),
    lambda net: over(over(net)),
    lambda net: over({"nets": [(net,)]}),
    lambda net: Call(over(net), scores_of),
)


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        (network(), network(), network(1e-3)),
        (torch.ones(3), torch.ones(3), torch.ones(3).double()),
        (np.arange(4), np.arange(4), np.arange(4).reshape(2, 2)),
        (np.array([1, "a"], object), np.array([1, "a"], object), np.array([1, "b"], object)),
        (0.5, 0.5, 0.25),
        (1, 1, True),
        ({"a", "bc"}, {"bc", "a"}, {"a", "b"}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 2, "b": 1}),
        (network().forward, network().forward, network(1).forward),
        (torch.ones(3).matmul, torch.ones(3).matmul, torch.zeros(3).matmul),
        (lambda x: x + 1, lambda x: x + 1, lambda x: x + 2),
        (torch.relu, torch.relu, torch.sigmoid),
        (Path("a"), Path("a"), Path("b")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_a_callable_holds_is_in_its_hash(holder: Any, one: Any, same: Any, other: Any) -> None:
    assert digest(holder(one)) == digest(holder(same))
    assert digest(holder(one)) != digest(holder(other))


def test_code_is_told_apart_on_one_line_and_by_the_class_of_an_object() -> None:
    plus, minus = (lambda x: x + 1), (lambda x: x - 1)
    assert digest(plus) != digest(minus)

    def made(sign: int) -> Any:
        def call(self: Any, x: Tensor) -> Tensor:
            return x

        def turned(self: Any, x: Tensor) -> Tensor:
            return -x

        return type("Same", (), {"__call__": call if sign > 0 else turned, "__module__": __name__})()

    assert digest(made(1)) == digest(made(1)) != digest(made(-1))


def test_globals_count_where_they_are_named_also_those_of_the_users_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "mine", mine := ModuleType("mine"))
    mine.net, mine.unused, mine.mine = network(), network(), mine  # type: ignore[attr-defined]
    inside = eval("lambda x: [mine.net(row) for row in x]", globals())
    around = (lambda held: lambda x: held.mine.net(x))(mine)
    scaled = lambda x: x * SCALE  # noqa: E731
    before = digest(inside), digest(around), digest(scaled)
    mine.unused = network(1)  # type: ignore[attr-defined]
    assert (digest(inside), digest(around), digest(scaled)) == before
    mine.net = network(1)  # type: ignore[attr-defined]
    monkeypatch.setitem(globals(), "SCALE", 2.0)
    assert digest(inside) != before[0]
    assert digest(around) != before[1]
    assert digest(scaled) != before[2]


def test_cycles_and_deep_values_end() -> None:
    def around(net: Any) -> Callable[..., Any]:
        def call(x: Any) -> Any:
            return call(held) if x is held else net(x)

        held: list[Any] = [net]
        held.append(held)
        return call

    assert digest(around(network())) == digest(around(network())) != digest(around(network(1)))
    deep: Any = ()
    for _ in range(10 * DEEPEST):
        deep = (deep,)
    assert "tuple would go unnoticed" in callable_digest(over(deep))[1]


def test_what_cannot_be_hashed_is_named_and_the_rest_still_counts() -> None:
    lock = threading.Lock()
    first, note = callable_digest(over([lock, network()]))
    assert "a change in _thread.lock would go unnoticed" in note
    assert first != digest(over([lock, network(1)]))
    assert "unnoticed" not in callable_digest(over(network()))[1]


def test_the_memory_address_that_a_vectoriser_keeps_is_not_in_the_hash() -> None:
    text = pytest.importorskip("sklearn.feature_extraction.text", reason="scikit-learn is an extra")
    made = [text.TfidfVectorizer(stop_words=[word]).fit(["good film", "bad film"]) for word in ("good", "good", "bad")]
    assert made[0]._stop_words_id != made[1]._stop_words_id
    first, same, other = (digest(over(vectoriser)) for vectoriser in made)
    assert first == same != other


def test_the_hash_is_the_same_in_another_process_and_after_many_calls(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import re\nimport torch\nfrom robustly.adapters.digests import callable_digest\n"
        "NAMES = {'a', 'bc', 'def', 'g'}\n"
        "class Mine:\n    def __init__(self):\n        self.net, self.names = torch.nn.Identity(), set(NAMES)\n"
        "        self.pattern, self.dtype = re.compile('a+'), torch.float32\n"
        "    def __call__(self, x):\n        return self.net(x) if NAMES else torch.relu(x)\n"
        "mine = Mine()\nf = torch.no_grad()(lambda x: mine(x))\nbefore = callable_digest(f)[0]\n"
        "for _ in range(100):\n    f(torch.zeros(1))\nprint(before, callable_digest(f)[0])\n"
    )
    seen: set[str] = set()
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, tmp_path / "mine.py"], capture_output=True, text=True, check=True, env=env
        )
        seen |= set(done.stdout.split())
    assert len(seen) == 1


def test_a_model_without_a_digest_gets_that_of_its_call() -> None:
    one, same, other = (load_model(Model(call=over(net))) for net in (network(), network(), network(1)))
    assert one.digest == same.digest != other.digest
    assert one.digest == load_model(over(network())).digest
    assert any("hash is of its code" in note for note in one.notes)
    assert load_model(one) == one
    assert load_model(Model(call=over(network()), digest="mine")).digest == "mine"
    assert load_model(Model(call=network())).digest != load_model(Model(call=network(1))).digest
    assert load_model(network()).digest == module_digest(network())
