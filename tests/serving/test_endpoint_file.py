"""The file for a client: valid TOML whatever the names, without the token, and understood by our own client."""

import tomllib
from dataclasses import replace

import pytest
import torch

from robustly.core.errors import RunError
from robustly.oracle.model import Access, Model
from robustly.serving.endpoint_file import endpoint_text, write_endpoint
from robustly.serving.settings import Serving
from robustly.threats.base import Domain

URL = "http://127.0.0.1:8000"
ODD = ('a "b"', "c\\d", "e\nf", "g\x7fh", "ü€𝄞", "[i]", "\ud800")


def test_it_says_what_is_served(model):
    told = tomllib.loads(endpoint_text(Serving(model, shape=(3, 2, 4)), URL))
    assert told["url"] == f"{URL}/predict"
    assert told["names"] == ["ant", "bee", "cat", "dog"]
    assert told["range"] == [0.0, 1.0]
    assert told["answer"] == {"scores": "scores", "label": "labels"}
    assert "secret" not in told


def test_labels_texts_and_unknown_things():
    assert tomllib.loads(endpoint_text(Serving(Model(call=len), label_only=True), URL))["answer"] == {"label": "labels"}
    assert tomllib.loads(endpoint_text(Serving(Model(call=len, access=Access.LABELS)), URL))["answer"] == {
        "label": "labels"
    }
    told = tomllib.loads(endpoint_text(Serving(Model(call=len, classes=7), text=True), URL))
    assert (told["request"]["input"], told["classes"]) == ("text", 7)
    assert not {"names", "range"} & set(told)
    assert "range" not in tomllib.loads(endpoint_text(Serving(Model(call=len, domain=Domain(low=0.0))), URL))


def test_odd_names_survive(model):
    told = tomllib.loads(endpoint_text(Serving(replace(model, labels=ODD)), URL))
    assert tuple(told["names"]) == (*ODD[:-1], "?")


def test_the_token_is_named_and_not_told(model, tmp_path):
    path = tmp_path / "deep" / "endpoint.toml"
    write_endpoint(path, Serving(model, token="marker-5e7"), URL, "MY_KEY")
    text = path.read_text()
    assert tomllib.loads(text)["secret"] == {"env": "MY_KEY"}
    assert "marker-5e7" not in text
    assert [p.name for p in path.parent.iterdir()] == ["endpoint.toml"]


def test_a_place_that_cannot_be_written(model, tmp_path):
    (tmp_path / "endpoint.toml").mkdir()
    with pytest.raises(RunError, match="cannot write"):
        write_endpoint(tmp_path / "endpoint.toml", Serving(model), URL)


@pytest.mark.parametrize("form", ["list", "npy", "png"])
def test_our_own_client_understands_it(client, model, x, tmp_path, monkeypatch, form):
    adapter = pytest.importorskip("robustly.adapters.endpoint")
    monkeypatch.setenv("MY_KEY", "marker-5e7")
    x = (x * 255).round() / 255
    with client(token="marker-5e7") as at:
        path = tmp_path / "endpoint.toml"
        text = endpoint_text(Serving(model, shape=(3, 2, 4)), str(at.base_url).rstrip("/"), "MY_KEY")
        path.write_text(text.replace('"npy"', f'"{form}"'))
        served = adapter.endpoint(path)
        answers = served.remote.ask(x, torch.arange(5)).answers
        served.remote.close()
        counts = at.get("/count", headers={"Authorization": "Bearer marker-5e7"}).json()
    assert torch.equal(answers.argmax(1), model.ask(x).argmax(1))
    assert torch.allclose(answers, model.ask(x), atol=1e-6)
    assert (counts["distinct"], counts["doubled"], counts["unanswered"], counts["refusals"]) == (5, 0, 0, {})
