"""Modules and callables from Python: answers checked, nothing of the user's changed."""

import functools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustly.adapters.border import check_pair
from robustly.adapters.data import load_data
from robustly.adapters.models import PREPARED, load_model
from robustly.core.errors import ModelRaised, UsageError
from robustly.oracle import Access, Model
from robustly.threats import Domain


def small(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(108, 4)
        ).eval()


def images(count: int = 5) -> Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def linear(weight: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight.data = weight
    return layer.eval()


def state(module: nn.Module) -> list[object]:
    values = [
        (n, v.clone(), v.requires_grad, v.grad, v.data_ptr()) for n, v in module.state_dict(keep_vars=True).items()
    ]
    modes = [(m.training, len(m._forward_hooks), len(m._backward_hooks)) for m in module.modules()]
    return [*((n, v.tolist(), r, g, p) for n, v, r, g, p in values), modes, torch.get_rng_state().tolist()]


def test_a_module_gives_its_own_scores_and_gradients_and_comes_out_untouched() -> None:
    module, x = small(), images()
    before = state(module)
    model = load_model(module)
    z = x.clone().requires_grad_()
    scores = model.answer(z)
    (grad,) = torch.autograd.grad(scores[:, 0].sum(), z)
    asked = model.ask(x)
    assert state(module) == before
    assert model.module is module
    assert torch.equal(asked, scores.detach())
    assert scores.shape == (5, 4)
    assert scores.std() > 0.01
    moved = z.detach() + 1e-3 * grad.sign()
    assert (model.ask(moved)[:, 0] > asked[:, 0]).all()  # so the gradient is that of the scores
    assert (model.access, model.numbers, model.name) == (Access.GRADIENTS, 2**17, "Sequential")
    assert PREPARED in model.notes


@pytest.mark.parametrize("part", [None, 3])
def test_a_module_in_training_mode_is_refused_with_the_line_to_write(part: int | None) -> None:
    module = small()
    (module if part is None else module[part]).train()
    with pytest.raises(UsageError, match=r"training mode.*model\.eval\(\)") as told:
        load_model(module)
    assert part is None or "(3)" in str(told.value)


@pytest.mark.parametrize(
    ("dtype", "out"), [(torch.float16, torch.float32), (torch.bfloat16, torch.float32), (torch.float64, torch.float64)]
)
def test_inputs_are_cast_to_the_dtype_of_the_weights(dtype: torch.dtype, out: torch.dtype) -> None:
    module = linear(torch.eye(3)).to(dtype)
    model = load_model(module)
    scores = model.ask(torch.tensor([[0.25, 0.5, 1.0]]))
    assert scores.dtype is out
    assert scores.tolist() == [[0.25, 0.5, 1.0]]
    half = dtype is not torch.float64
    assert any(str(dtype).removeprefix("torch.") in note for note in model.notes) is half
    assert (model.module is None) is half


def test_the_digest_sees_every_weight_every_buffer_and_every_layer() -> None:
    first = load_model(small()).digest
    assert load_model(small()).digest == first
    changed = []
    for edit in (
        lambda m: m[0].weight.data.view(-1)[3:4].add_(1e-3),
        lambda m: m[1].running_mean.add_(1e-3),
        lambda m: setattr(m[0], "stride", (2, 2)),
        lambda m: m.__setitem__(2, nn.Tanh()),
        lambda m: m.register_buffer("extra", torch.zeros(1), persistent=False),
    ):
        module = small()
        edit(module)
        changed.append(load_model(module.eval()).digest)
    assert len({first, *changed}) == 6


def test_normalisation_inside_the_module_or_in_a_callable_around_it_is_the_same_model() -> None:
    class Normalised(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            return self.inner((x - 0.3) / 0.2)

    inner = small()
    inside, outside = load_model(Normalised(inner).eval()), load_model(lambda x: inner((x - 0.3) / 0.2))
    grads = []
    for model in (inside, outside):
        z = images().requires_grad_()
        grads.append(torch.autograd.grad(model.answer(z).logsumexp(1).sum(), z)[0])
    assert torch.equal(inside.ask(images()), outside.ask(images()))
    assert torch.equal(*grads)
    assert not torch.equal(inside.ask(images()), load_model(inner).ask(images()))


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda x: x.flatten(1)[:, 0], r"one score an input.*1 class.*torch\.stack"),
        (lambda x: x.flatten(1)[:, :1], r"\(5, 1\).*torch\.stack"),
        (lambda x: x.flatten(1).argmax(1), r'labels.*access="labels"'),
        (lambda x: x, r"\(5, 1, 8, 8\).*pixel"),
        (lambda x: x.flatten(1)[:, :4, None, None], r"\(5, 4, 1, 1\) for 5.*\(5, 4\).*flatten\(1\)"),
        (lambda x: x.flatten(1)[:2, :4], r"\(2, 4\) for 5 inputs"),
        (lambda x: {"loss": x, "logits": x.flatten(1)}, r'keys loss, logits.*model\(x\)\["logits"\]'),
        (lambda x: (x.flatten(1), x), r"tuple of 2.*model\(x\)\[0\]"),
        (lambda x: "cat", r"answers a str"),
    ],
)
def test_an_answer_of_another_form_is_refused_with_what_to_write(answer: object, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        load_model(answer).ask(images())


def test_the_hint_for_a_single_logit_works_as_written() -> None:
    model = lambda x: x.flatten(1)[:, 0] - 0.5  # noqa: E731
    from robustly.adapters.outputs import TWO_COLUMNS

    two = eval(TWO_COLUMNS, {"torch": torch, "model": model})
    scores = load_model(two).ask(images())
    assert torch.allclose(scores.softmax(1)[:, 1], torch.sigmoid(model(images())))


def test_logits_are_picked_and_numpy_is_taken() -> None:
    x, data = images(), load_data((images(), torch.zeros(5, dtype=torch.int64)))
    module = small()
    checked = check_pair(load_model(lambda z: SimpleNamespace(logits=module(z))), data)
    assert torch.equal(checked.model.ask(x), module(x))
    assert any(".logits" in note for note in checked.model.notes)
    numbers = load_model(lambda z: z.flatten(1).numpy().astype(np.float16))
    assert numbers.ask(x).dtype is torch.float32


def test_what_the_model_raises_stays_its_own() -> None:
    with pytest.raises(ModelRaised, match="RuntimeError"):
        load_model(small()).ask(torch.rand(2, 9))


def test_a_callable_has_the_hash_of_its_code_and_says_so() -> None:
    def one(x: Tensor) -> Tensor:
        return x.flatten(1)

    def two(x: Tensor) -> Tensor:
        return x.flatten(1) + 1

    first, second = load_model(one), load_model(two)
    assert first.digest != second.digest
    assert load_model(functools.partial(one)).digest == first.digest
    assert any("of its code" in note for note in first.notes)
    assert any("name only" in note for note in load_model(torch.flatten).notes)


def test_labels_only_never_count_a_tie_or_nan_for_the_model() -> None:
    rows = torch.tensor([[1.0, 3.0], [2.0, 2.0], [float("nan"), 1.0], [4.0, 1.0]])
    model = load_model(lambda x: rows[: len(x)], access="labels")
    assert model.access is Access.LABELS
    assert model.ask(torch.zeros(4, 2)).tolist() == [1, -1, -1, 0]
    odd = load_model(lambda x: torch.tensor([float("nan"), 1.0, float("inf")]), access="labels")
    assert odd.ask(torch.zeros(3, 2)).tolist() == [-1, 1, -1]
    plain = load_model(lambda x: x.argmax(1), access="labels")
    assert plain.ask(rows[[0, 3]]).tolist() == [1, 0]
    with pytest.raises(UsageError, match=r"whole numbers.*0\.25"):
        load_model(lambda x: x[:, 0] / 4, access="labels").ask(torch.ones(3, 2))


def test_labels_are_the_same_whether_asked_for_or_granted() -> None:
    values = torch.tensor([-1.0, 0.0, 2.0, float("nan"), float("inf"), -float("inf")])
    rows = torch.cartesian_prod(values, values, values)
    declared = load_model(lambda x: x, access="labels").ask(rows)
    assert torch.equal(declared, load_model(lambda x: x).granting(Access.LABELS).ask(rows))
    sure = (declared >= 0).nonzero().flatten()
    assert 0 < len(sure) < 27
    for row in sure.tolist():
        best = rows[row, declared[row]]
        assert rows[row].isfinite().all()
        assert ((rows[row] < best).sum()) == 2


def test_what_is_declared_is_kept_and_checked() -> None:
    model = load_model(small(), range=(0, 255), access="scores", classes=4)
    assert (model.domain, model.access, model.classes) == (Domain(0.0, 255.0), Access.SCORES, 4)
    assert any("[0, 255], declared" in note for note in model.notes)
    for bad, told in (((1, 0), "lower first"), ((0, float("nan")), "lower first"), ((1, 2, 3), "two numbers")):
        with pytest.raises(UsageError, match=told):
            load_model(small(), range=bad)
    with pytest.raises(UsageError, match=r'"gradient"\. Did you mean "gradients"|"gradient".*"gradients"'):
        load_model(small(), access="gradient")
    with pytest.raises(UsageError, match="classes=1"):
        load_model(small(), classes=1)
    scores_only = Model(call=small(), access=Access.SCORES, name="served")
    with pytest.raises(UsageError, match=r"served gives at most scores"):
        load_model(scores_only, access="gradients")
    with pytest.raises(UsageError, match="cannot make a model of a int"):
        load_model(3)


def test_devices_that_are_not_there_are_refused() -> None:
    with pytest.raises(UsageError, match='unknown device "gpu"'):
        load_model(small(), device="gpu")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match=r'"cuda" asked for.*device="cpu"'):
            load_model(small(), device="cuda")
    with pytest.raises(UsageError, match=r'lies on meta.*device="meta"'):
        load_model(small().to("meta"), device="cpu")


def test_an_estimator_of_scikit_learn_is_taken() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is an extra")
    x = np.random.default_rng(0).random((40, 3))
    fitted = linear_model.LogisticRegression().fit(x, (x[:, 0] > 0.5).astype(int))
    model = load_model(fitted)
    assert (model.ask(torch.from_numpy(x).float()).argmax(1).numpy() == fitted.predict(x)).mean() > 0.95
