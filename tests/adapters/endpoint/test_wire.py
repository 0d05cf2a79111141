"""What the server decodes is what was judged, for every way to write an input."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.adapters.endpoint.server import decoded

from robustly.adapters.endpoint.settings import Settings
from robustly.adapters.endpoint.wire import Wire, key_of
from robustly.core.errors import UsageError
from robustly.threats import L2, Domain, Linf

UNIT = Domain(0.0, 1.0)
IMAGES = torch.rand(5, 3, 6, 7, generator=torch.Generator().manual_seed(1))
FORMS = [
    {"input": "list"},
    {"input": "list", "decimals": 2},
    {"input": "list", "decimals": 5},
    {"input": "png"},
    {"input": "npy"},
]


def wire(domain: Domain = UNIT, **request: object) -> Wire:
    return Wire(Settings.model_validate({"url": "http://host/", "request": request}), domain)


def read(made: Wire, z: torch.Tensor) -> torch.Tensor:
    """What a server makes of the bytes; its images have the channels last."""
    fragments = made.fragments(z)
    sent = [made.body([one]) for one in fragments] if made.request.one_by_one else [made.body(fragments)]
    out = np.concatenate([decoded(*one) for one in sent])
    if made.request.input == "png" and out.ndim == 4:
        out = out.transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(out))


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_the_server_reads_what_was_carried(form):
    made = wire(**form)
    carried = made.carried(IMAGES)
    assert torch.equal(read(made, IMAGES), carried)
    assert torch.equal(read(made, carried), carried)
    assert torch.equal(made.carried(carried), carried)


@pytest.mark.parametrize("kind", ["png", "npy"])
def test_a_form_carries_the_same(kind):
    made = wire(kind="multipart", input=kind, field='im"age', fields={"model": "v1"})
    assert torch.equal(read(made, IMAGES), made.carried(IMAGES))
    body, content = made.body(made.fragments(IMAGES[:1]))
    assert b'name="model"\r\n\r\nv1\r\n' in body
    assert b'name="im%22age"' in body
    assert made.body(made.fragments(IMAGES[:1])) == (body, content)  # the same bytes each time


def test_one_input_a_request_and_a_body_of_ones_own():
    made = wire(body='{"model": "m", "input": {input}}', input="npy")
    body, kind = made.body(made.fragments(IMAGES[:1]))
    assert (kind, body[:23]) == ("application/json", b'{"model": "m", "input":')
    assert torch.equal(read(made, IMAGES[:1]), IMAGES[:1])


def test_grey_and_flat_images():
    grey = torch.rand(2, 1, 4, 4)
    assert torch.equal(read(wire(input="png"), grey)[:, None], wire(input="png").carried(grey))
    flat = wire(input="png", shape=(1, 4, 4))
    assert torch.equal(read(flat, grey.flatten(1)), flat.carried(grey)[:, 0])
    with pytest.raises(
        UsageError, match=r"request.shape of the endpoint is \[1, 4, 4\], 16 numbers, but an input has 9"
    ):
        flat.fragments(torch.rand(1, 9))
    with pytest.raises(UsageError, match="is no image"):
        wire(input="png").fragments(torch.rand(1, 9))


def test_an_image_spreads_over_the_range_of_the_data():
    made = wire(Domain(0.0, 255.0), input="png")
    assert torch.equal(made.carried(torch.tensor([[[0.4, 254.6]]])), torch.tensor([[[0.0, 255.0]]]))
    with pytest.raises(UsageError, match=r"range = \[0, 1\]"):
        wire(Domain(), input="png").carried(IMAGES)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_every_number_is_read_as_it_was(numbers):
    z = torch.tensor([numbers])
    (fragment,) = wire().fragments(z)
    assert json.loads(fragment) == z[0].double().tolist()
    assert b"-0.0," not in fragment + b","  # zero has one text, so that equal inputs have one key


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    eps=st.sampled_from([1 / 255, 2 / 255, 8 / 255, 0.1]),
    form=st.sampled_from([FORMS[1], FORMS[2], FORMS[3]]),
    threat=st.sampled_from([Linf, L2]),
)
def test_rounding_never_leaves_the_set_around_a_clean_input_on_the_grid(seed, eps, form, threat):
    generator = torch.Generator().manual_seed(seed)
    made = wire(**form)
    x = made.carried(torch.rand(4, 3, 5, 5, generator=generator))
    around = threat(eps).at(x, UNIT)
    z = around.project(x + eps * (2 * torch.rand(x.shape, generator=generator) - 1).sign())
    carried = made.carried(z, around)
    assert around.contains(carried).all()
    assert torch.equal(made.carried(carried), carried)  # what is sent is what was judged
    assert ((carried - x).abs() <= (z - x).abs() + made.carried(torch.ones(1)).abs() / 100).all()


def test_a_change_below_half_a_level_is_none():
    made, x = wire(input="png"), wire(input="png").carried(IMAGES)
    around = Linf(8 / 255).at(x, UNIT)
    assert torch.equal(made.carried((x + 0.4 / 255).clamp(0, 1), around), x)


def test_texts_and_numbers_are_not_mixed_up():
    assert wire(input="text").fragments(("Grüße",)) == [b'"Gr\\u00fc\\u00dfe"']
    assert wire(input="text").carried(("a",)) == ("a",)
    with pytest.raises(UsageError, match='takes input = "text", but the data are numbers'):
        wire(input="text").fragments(IMAGES)
    with pytest.raises(UsageError, match='takes input = "png", but the data are texts'):
        wire(input="png").fragments(("a",))


def test_keys_tell_inputs_envelopes_and_draws_apart():
    one = Settings(url="http://host/")
    two = one.model_copy(update={"headers": {"A": "b"}})
    envelopes = [Wire(one, UNIT).envelope(), Wire(two, UNIT).envelope()]
    keys = {key_of(e, f, d) for e in envelopes for f in (b"[1]", b"[2]") for d in ("", "1", "2")}
    assert len(keys) == 12
    limited = one.model_copy(update={"limits": one.limits.model_copy(update={"budget": 3})})
    assert Wire(limited, UNIT).envelope() == envelopes[0]
