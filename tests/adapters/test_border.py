"""The last look: what the model says of the first examples, and whether eps means something."""

import math
import re

import pytest
import torch
from torch import Tensor, nn

from robustly.adapters.border import check_eps, check_labels, check_pair, in_range
from robustly.adapters.data import Data, load_data
from robustly.adapters.models import load_model
from robustly.core.errors import UsageError
from robustly.oracle import Access, Model
from robustly.threats import Domain, parse_threat


def images(count: int = 6) -> Data:
    x = torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    return load_data((x, [i % 3 for i in range(count)]))


class Net(nn.Module):
    """A small network that counts the rows it sees."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.inner = nn.Linear(16, classes)
        self.seen = 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        return self.inner(x.flatten(1))


def test_a_fitting_pair_passes_with_what_was_learnt_and_every_pass_counted() -> None:
    net = Net().eval()
    model, warnings, forward, backward = check_pair(load_model(net), images())
    assert warnings == ()
    assert forward == backward == net.seen == 2
    assert (model.classes, model.domain, model.access) == (3, Domain(0.0, 1.0), Access.GRADIENTS)
    assert any("input range [0, 1], detected" in n for n in model.notes)
    assert check_pair(load_model(net), images(1)).forward == 1
    assert all(p.grad is None and p.requires_grad for p in net.parameters())


def test_labels_and_names_must_fit_the_scores() -> None:
    x = images().x
    with pytest.raises(UsageError, match=r"label 4 is 3, but the model has 3 classes, with the labels 0 to 2"):
        check_pair(load_model(Net().eval()), load_data((x, [0, 1, 2, 0, 3, 0])))
    with pytest.raises(UsageError, match=r"label 2 is 3.*start at 1: subtract 1"):
        check_pair(load_model(Net().eval()), load_data((x, [1, 2, 3, 1, 2, 3])))
    with pytest.raises(UsageError, match=r"4 classes \(a, b, c, d\), but the model answers 3"):
        check_pair(load_model(Net().eval()), load_data((x, [0, 1, 2, 0, 1, 0]), classes=tuple("abcd")))
    with pytest.raises(UsageError, match="said to have 5 classes, but it answers 3"):
        check_pair(load_model(Net().eval(), classes=5), images())
    fewer = check_pair(load_model(Net(5).eval()), load_data((x, [0, 1, 2, 0, 1, 0]), classes=tuple("abc")))
    assert any("name 3 classes and the model has 5" in w for w in fewer.warnings)
    with pytest.raises(UsageError, match="1 class"):
        check_pair(load_model(Net(1).eval()), images())
    labels = load_model(lambda z: z.flatten(1).argmax(1), access="labels", classes=2)
    with pytest.raises(UsageError, match="label 2 is 2, but the model has 2 classes"):
        check_pair(labels, images())
    with pytest.raises(UsageError, match="label 2 is 2, but the model has 2 classes"):
        check_labels(images(), 2)
    check_labels(images(), 3)
    check_labels(images(), None)


def test_values_outside_the_range_of_the_model_are_refused() -> None:
    with pytest.raises(UsageError, match=r"input 0 has the value .* outside the declared range \[-1, 0\]"):
        check_pair(load_model(Net().eval(), range=(-1, 0)), images())
    wide = check_pair(load_model(Net().eval(), range=(-1, 2)), images())
    assert wide.model.domain == Domain(-1.0, 2.0)


def test_the_range_of_the_data_fills_in_only_where_the_model_declares_none() -> None:
    def ranges(model: Model) -> list[str]:
        return [note for note in model.notes if "range" in note and note.startswith("input")]

    bare, data = Model(call=Net().eval()), images()
    own = Model(call=Net().eval(), domain=Domain(-1.0, 2.0))
    told = load_data((data.x, data.y), range=(-3, 3))
    for given, among, domain, note in (
        (load_model(bare), data, Domain(0.0, 1.0), "input range [0, 1], detected in the data"),
        (load_model(bare), told, Domain(-3.0, 3.0), "input range [-3, 3], declared with the data"),
        (load_model(own), data, Domain(-1.0, 2.0), "input range [-1, 2], declared"),
        (load_model(own, range=(0, 5)), data, Domain(0.0, 5.0), "input range [0, 5], declared"),
        (load_model("zoo:fashion_plain"), data, Domain(0.0, 1.0), "input range [0, 1], declared"),
    ):
        found = in_range(given, among)
        assert found.domain == domain
        assert ranges(found) == [note]
        assert not any("detected" in note for note in among.notes)
        assert in_range(found, among) == found
        assert in_range(load_model(found), among) == found
    beyond = load_data((data.x * 4 - 2, data.y))
    with pytest.raises(
        UsageError, match=r"input \d has the value .* at .*outside the declared range \[0, 1\]\. Declare"
    ):
        in_range(load_model("zoo:fashion_plain"), beyond)
    assert in_range(load_model(bare), beyond).domain == Domain()


def test_probabilities_are_noticed_and_logits_are_not() -> None:
    net = Net().eval()
    assert any(
        "look like probabilities" in w and "log(p)" in w
        for w in check_pair(load_model(lambda z: net(z).softmax(1)), images()).warnings
    )
    for fine in (lambda z: net(z).log_softmax(1), lambda z: net(z).sigmoid(), net):
        assert check_pair(load_model(fine), images()).warnings == ()


def test_a_model_without_gradients_is_granted_only_scores() -> None:
    net = Net().eval()

    @torch.no_grad()
    def frozen(z: Tensor) -> Tensor:
        return net(z)

    blocked = lambda z: net(z.detach())  # noqa: E731 # its answer requires a gradient: that of the weights
    assert blocked(images().x).requires_grad
    for cut, backward in (
        (frozen, 0),
        (lambda z: net(z).detach(), 0),
        (lambda z: net(z).detach().numpy(), 0),
        (blocked, 2),
    ):
        checked = check_pair(load_model(cut), images())
        assert checked.model.access is Access.SCORES
        assert any("no gradient flows" in w for w in checked.warnings)
        assert checked.backward == backward
    assert all(p.grad is None for p in net.parameters())
    asked = check_pair(load_model(net, access="scores"), images())
    assert (asked.warnings, asked.backward) == ((), 0)


def test_a_model_that_raises_going_backward_is_granted_only_scores() -> None:
    class Forward(torch.autograd.Function):
        @staticmethod
        def forward(_: object, z: Tensor) -> Tensor:
            return z * 2

        @staticmethod
        def backward(_: object, *grads: Tensor) -> Tensor:
            raise NotImplementedError("no way back")

    checked = check_pair(load_model(lambda z: Net().eval()(Forward.apply(z))), images())
    assert (checked.model.access, checked.forward, checked.backward) == (Access.SCORES, 2, 2)
    assert any("NotImplementedError: no way back" in w for w in checked.warnings)


def test_a_model_that_writes_into_its_input_gets_copies() -> None:
    net, data = Net().eval(), images()
    kept = data.x.clone()

    def normalise(z: Tensor) -> Tensor:
        return net(z.sub_(0.5).div_(0.5))

    checked = check_pair(load_model(normalise), data)
    assert torch.equal(data.x, kept)
    assert any("writes into its input" in w for w in checked.warnings)
    z = data.x.clone().requires_grad_()
    scores = checked.model.answer(z)  # written into a leaf, this would raise
    assert torch.allclose(scores, net((kept - 0.5) / 0.5))
    assert torch.autograd.grad(scores.sum(), z)[0].abs().sum() > 0
    checked.model.ask(data.x)
    assert torch.equal(data.x, kept)


def test_a_model_that_raises_now_and_then_goes_on_and_one_that_always_does_is_refused() -> None:
    net, data = Net().eval(), images()

    def picky(z: Tensor) -> Tensor:
        if (z == data.x[0]).flatten(1).all(1).any():
            raise ValueError("not this one")
        return net(z)

    checked = check_pair(load_model(picky), data)
    assert checked.model.classes == 3
    assert checked.forward == 4  # the pair, the first alone, the second alone
    with pytest.raises(
        UsageError, match=r"raised on each of the first 6 examples \(each \(1, 4, 4\)\).*RuntimeError.*layout"
    ):
        check_pair(load_model(nn.Linear(7, 3).eval()), data)


def test_texts_and_bare_models_are_looked_at_too() -> None:
    texts = load_data((["good", "bad"], [1, 0]))
    scorer = load_model(lambda batch: torch.tensor([[0.0, float("good" in t)] for t in batch]))
    checked = check_pair(scorer, texts)
    assert (checked.model.access, checked.model.classes, checked.forward) == (Access.SCORES, 2, 2)
    with pytest.raises(UsageError, match="one score an input"):
        check_pair(Model(call=lambda z: z.flatten(1).sum(1)), images())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("linf:0", None),
        ("linf:8/255", None),
        ("linf:1/255", None),
        ("linf:0.003", r"eps 0\.003 of linf:0\.003 is below one step of an 8-bit image, 0\.003922 \(1/255\).*0\.0314"),
        ("l2:0.003", "below one step"),
        ("linf:0.99", None),
        ("linf:1", r"eps 1 of linf:1 covers the whole range \[0, 1\]"),
        ("l2:3.99", None),
        ("l2:4", r"covers the whole range .*from 4 on"),
        ("l1:16", "covers the whole range"),
        ("l0:15", None),
        ("l0:16", "covers the whole range"),
        ("linf:1@8bit", "covers the whole range"),
        ("linf:1&l2:1", None),
        ("linf:1&l2:4", "covers the whole range"),
    ],
)
def test_an_eps_that_means_everything_or_nothing_is_warned_of(text: str, told: str | None) -> None:
    data = images()
    warnings = check_eps(parse_threat(text), data, check_pair(load_model(Net().eval()), data).model)
    if told is None:
        assert warnings == ()
    else:
        (warning,) = warnings
        assert re.search(told, warning)


def test_eps_is_measured_in_the_range_of_the_model() -> None:
    data = images()
    wide = load_data((data.x * 255, data.y), range=(0, 255))
    model = check_pair(load_model(Net().eval(), range=(0, 255)), wide).model
    assert "255" in check_eps(parse_threat("linf:255"), wide, model)[0]
    assert "below one step of an 8-bit image, 1 (255/255)" in check_eps(parse_threat("linf:8/255"), wide, model)[0]
    assert check_eps(parse_threat("linf:8"), wide, model) == ()
    table = load_data((torch.randn(4, 3) * 9, [0, 1, 0, 1]))
    assert table.domain.high == math.inf
    assert check_eps(parse_threat("linf:100"), table, Model(call=lambda z: z)) == ()
