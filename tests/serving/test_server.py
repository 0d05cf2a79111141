"""A real server on a real socket: what it answers, refuses, counts and breaks."""

import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import httpx2
import pytest
import torch

from robustly.core.errors import UsageError
from robustly.defend.nearest import NearestQueries, pixels, threshold_of
from robustly.oracle.model import Access, Model
from robustly.serving.counts import digests_of
from robustly.serving.faults import Faults
from robustly.serving.running import listening, served
from robustly.serving.settings import Defence, Serving
from robustly.threats.base import Domain

from .conftest import SHAPE, b64, npy, png


def asked(client, inputs, **more):
    return client.post("/predict", json={"inputs": inputs}, **more)


def test_answers_are_the_local_models_bit_for_bit(client, model, x):
    with client() as at:
        answer = asked(at, [b64(npy(row)) for row in x]).json()
        assert torch.equal(torch.tensor(answer["scores"]), model.ask(x))
        assert torch.equal(torch.tensor(asked(at, x.tolist()).json()["scores"]), model.ask(x))
        one = asked(at, [b64(npy(x[2]))]).json()
    assert torch.equal(torch.tensor(one["scores"]), model.ask(x[2:3]))
    assert answer["labels"] == model.ask(x).argmax(1).tolist()
    assert answer["names"] == [model.labels[label] for label in answer["labels"]]


def test_answers_in_decimals(client, model, x):
    with client(decimals=2) as at:
        got = torch.tensor(asked(at, x.tolist()).json()["scores"])
    assert torch.equal(got, model.ask(x).double().round(decimals=2).float())


def test_files(client, model, x):
    files = [("file", ("a.npy", npy(x[0]))), ("file", ("b.png", png(x[1]), "image/png"))]
    wanted = model.ask(torch.stack((x[0], (x[1] * 255).round() / 255)))
    with client() as at:
        assert torch.equal(torch.tensor(at.post("/predict", files=files).json()["scores"]), wanted)
        assert at.post("/predict", data={"a": "b"}).status_code == 415
        broken = at.post("/predict", content=b"--x\r\n", headers={"content-type": "multipart/form-data"})
        assert broken.status_code == 400
        assert "multipart" in broken.json()["error"]
        none = at.post("/predict", files={"a": (None, "text")})
        assert (none.status_code, none.json()["error"]) == (400, "there are 0 inputs. Send at least one.")


def test_labels_only_leave_no_trace_of_scores(client, model, x):
    with client(label_only=True) as at:
        answer = asked(at, x.tolist()).json()
        assert sorted(answer) == ["labels", "names"]
        assert at.get("/health").json()["answers"] == "labels"
    with client(model=model.granting(Access.LABELS)) as at:
        assert asked(at, x.tolist()).json() == answer


def test_health_says_what_is_served(client, model):
    with client(token="hush") as at:
        said = at.get("/health").json()
    assert said == {
        "model": "small",
        "digest": model.digest,
        "classes": 4,
        "names": ["ant", "bee", "cat", "dog"],
        "inputs": "numbers",
        "shape": [3, 2, 4],
        "range": [0.0, 1.0],
        "answers": "scores",
    }


def test_ties_and_nan_are_no_labels_and_no_json_numbers(client, x):
    odd = Model(call=lambda z: torch.tensor([[1.0, 1.0], [float("nan"), 0.0], [0.0, 2.0]]), labels=("a", "b"))
    with client(model=odd) as at:
        answer = asked(at, x[:3].tolist())
    assert answer.json() == {
        "scores": [[1.0, 1.0], [None, 0.0], [0.0, 2.0]],
        "labels": [-1, -1, 1],
        "names": [None, None, "b"],
    }
    assert "NaN" not in answer.text


def test_a_model_that_raises_is_an_error_and_the_server_goes_on(client, model, x):
    def call(z):
        if len(z) == 2:
            raise ZeroDivisionError("no pairs")
        return model.call(z)

    with client(model=replace(model, call=call)) as at:
        bad = asked(at, x[:2].tolist())
        assert bad.status_code == 500
        assert "ZeroDivisionError: no pairs" in bad.json()["error"]
        assert asked(at, x[:1].tolist()).status_code == 200
        assert at.get("/count").json()["errors"] == 1


def test_the_token(client, x):
    with client(token="hush") as at:
        without = asked(at, x.tolist())
        assert (without.status_code, without.headers["www-authenticate"]) == (401, "Bearer")
        assert asked(at, x.tolist(), headers={"Authorization": "Bearer hus"}).status_code == 401
        assert asked(at, x.tolist(), headers={"Authorization": "Bearer hush"}).status_code == 200
        assert at.get("/count").status_code == 401
        counts = at.get("/count", headers={"Authorization": "Bearer hush"}).json()
    assert (counts["requests"], counts["refusals"], counts["examples"]) == (3, {"401": 2}, 5)
    assert "hush" not in repr(Serving(Model(call=len), token="hush"))


def test_bodies_beyond_the_cap(client, x):
    with client(bytes=1000) as at:
        assert asked(at, x.tolist() * 4).status_code == 413
        assert at.post("/predict", content=iter([b"x" * 900, b"x" * 900])).status_code == 413
        assert asked(at, x[:1].tolist()).status_code == 200


def test_wrong_paths_and_methods(client, x):
    with client() as at:
        assert at.get("/predict").status_code == 405
        assert at.post("/predictions", json={}).status_code == 404
        assert at.post("/predict", content=b"x", headers={"content-type": "image/png"}).status_code == 415


def test_every_example_is_counted_by_its_bytes(client, x):
    with client() as at:
        asked(at, [x[0].tolist(), b64(npy(x[1]))])
        asked(at, [b64(npy(x[0]))])
        asked(at, [[0.5]])
        counts = at.get("/count?each=1").json()
    first, second = digests_of(x[:2])
    assert counts["each"] == {first: [2, 2], second: [1, 1]}
    assert {k: counts[k] for k in ("requests", "examples", "distinct", "answered", "doubled", "unanswered")} == {
        "requests": 3,
        "examples": 3,
        "distinct": 2,
        "answered": 3,
        "doubled": 1,
        "unanswered": 0,
    }
    assert counts["refusals"] == {"422": 1}


@pytest.mark.parametrize(
    ("fault", "raised"),
    [({"drop": 1.0}, (httpx2.ReadError, httpx2.RemoteProtocolError)), ({"half": 1.0}, httpx2.RemoteProtocolError)],
)
def test_broken_connections(client, x, fault, raised):
    with client(faults=Faults(**fault)) as at:
        for _ in range(2):
            with pytest.raises(raised):
                asked(at, x.tolist())
        counts = at.get("/count").json()
    assert counts["faults"] == {next(iter(fault)): 2}
    assert (counts["answered"], counts["unanswered"], counts["open"]) == (0, 5, 0)


def test_half_a_body_is_half_of_what_was_announced(client, x):
    with client(faults=Faults(half=1.0)) as at, at.stream("POST", "/predict", json={"inputs": x.tolist()}) as answer:
        parts = answer.iter_raw()
        got = next(parts)
        with pytest.raises(httpx2.RemoteProtocolError):
            next(parts)
    assert answer.status_code == 200
    assert len(got) == int(answer.headers["content-length"]) // 2 > 0


def test_malformed_and_failing_answers(client, model, x):
    with client(faults=Faults(malformed=1.0)) as at:
        answer = asked(at, x.tolist())
        assert answer.status_code == 200
        with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
            answer.json()
    calls = []
    watched = replace(model, call=lambda z: calls.append(len(z)) or model.call(z))
    with client(model=watched, faults=Faults(fail=0.9, busy=0.1, retry_after="date")) as at:
        answers = [asked(at, x[:1].tolist()) for _ in range(60)]
        counts = at.get("/count").json()
    assert {answer.status_code for answer in answers} == {429, 500, 502, 503}
    assert all("GMT" in answer.headers["retry-after"] for answer in answers if answer.status_code == 429)
    assert sum(counts["faults"].values()) == 60
    assert calls == []


def test_slow_answers_and_latency(client, x):
    with client(faults=Faults(slow=1.0, seconds=0.3)) as at:
        begun = time.perf_counter()
        assert asked(at, x.tolist()).status_code == 200
        assert time.perf_counter() - begun >= 0.3
        with pytest.raises(httpx2.ReadTimeout):
            asked(at, x[:1].tolist(), timeout=0.1)
        time.sleep(0.4)
        counts = at.get("/count?each=1").json()
    assert counts["answered"] == 5  # nobody heard the one that was waited for no longer
    assert list(counts["each"].values()) == [[2, 1]] + [[1, 1]] * 4
    with client(latency=0.2) as at:
        begun = time.perf_counter()
        threads = [threading.Thread(target=asked, args=(at, x[i : i + 1].tolist())) for i in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 0.2 <= time.perf_counter() - begun < 0.8
        assert at.get("/count").json()["most_open"] >= 2


def defence(x, reply):
    """Flags what lies within a third of the least distance that clean queries keep to their two nearest."""
    threshold = threshold_of(x, k=2, rate=0.0) / 3
    return Defence(lambda: NearestQueries(pixels, threshold, k=2), reply)


def near(x, count):
    noise = 0.01 * torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(2))
    return (x[:1] * 0.9 + noise).clamp(0, 1)


@pytest.mark.parametrize("reply", ["ban", "refuse", "wrong", "constant", "nothing"])
def test_the_stateful_defence(client, model, x, reply):
    attack = near(x, 4)
    with client(defence=defence(x, reply)) as at:
        clean = [asked(at, [row.tolist()], headers={"x-api-key": "honest"}) for row in x]
        answers = [asked(at, [b64(npy(row))], headers={"x-api-key": "attacker"}) for row in attack]
        later = asked(at, [x[3].tolist()], headers={"x-api-key": "attacker"})
        counts = at.get("/count").json()
    assert [answer.status_code for answer in clean] == [200] * 5
    told = [200, 200] + [403 if reply in ("ban", "refuse") else 200] * 2
    assert [answer.status_code for answer in answers] == told
    assert later.status_code == (403 if reply == "ban" else 200)
    assert (counts["detections"], counts["accounts"]) == (1 if reply == "ban" else 2, 2)
    if reply in ("wrong", "constant", "nothing"):
        right = model.ask(attack).argmax(1).tolist()
        labels = [answer.json()["labels"][0] for answer in answers]
        assert labels[:2] == right[:2]
        assert (labels[2:] == right[2:]) is (reply == "nothing")
        assert reply != "constant" or answers[3].json()["scores"] == [[1.0, 0.0, 0.0, 0.0]]


def test_without_a_key_the_address_is_the_account(client, x):
    with client(defence=defence(x, "ban")) as at:
        assert asked(at, near(x, 4).tolist()).status_code == 403
        assert asked(at, x[3:4].tolist()).status_code == 403


def test_texts(client):
    lengths = Model(call=lambda z: torch.tensor([[float(len(t)), 3.0] for t in z]))
    with client(model=lengths, shape=None, text=True) as at:
        answer = asked(at, ["four", "", "€€"]).json()
        assert at.get("/health").json()["inputs"] == "texts"
    assert answer == {"scores": [[4.0, 3.0], [0.0, 3.0], [2.0, 3.0]], "labels": [0, 1, 1]}


def test_only_this_machines_addresses_unless_told_otherwise():
    for host in ("0.0.0.0", "", "::"):
        with pytest.raises(UsageError, match="--public"):
            listening(host, 0, public=False)
    listening("0.0.0.0", 0, public=True).close()
    with listening("127.0.0.1", 0, public=False) as line, pytest.raises(UsageError, match="another --port"):
        listening("127.0.0.1", line.getsockname()[1], public=False)
    with pytest.raises(UsageError, match="is not known"):
        listening("no such host", 0, public=False)
    with pytest.raises(UsageError, match="65535"):
        listening("127.0.0.1", 70_000, public=False)


def test_it_ends_and_frees_its_port(model, x):
    with served(Serving(model, faults=Faults(slow=1.0, seconds=30))) as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(httpx2.ReadTimeout):
            httpx2.post(f"{url}/predict", json={"inputs": x.tolist()}, timeout=0.2)
        begun = time.perf_counter()
    assert time.perf_counter() - begun < 5
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=1)
    for thread in threading.enumerate():
        if thread.name.startswith(("server", "model")):
            thread.join(5)
            assert not thread.is_alive()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"latency": -1}, "latency"),
        ({"bytes": 0}, "at least 1 byte"),
        ({"decimals": 99}, "decimals"),
        ({"token": ""}, "token is empty"),
        ({"token": "a b"}, "doesn't carry"),
        ({"token": "ü"}, "doesn't carry"),
        ({"text": True, "defence": Defence(lambda: None)}, "reads texts"),
    ],
)
def test_impossible_settings(settings, said):
    with pytest.raises(UsageError, match=said):
        Serving(Model(call=len, domain=Domain(0, 1)), **settings)


def test_an_unknown_reply():
    with pytest.raises(UsageError, match="no reply to a detection"):
        Defence(lambda: None, "shrug")


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "python_multipart"])
def test_without_the_packages_it_says_what_to_install(model, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with (
        pytest.raises(UsageError, match=rf"{package} is missing\): pip install robustly\[serve\]"),
        served(Serving(model)),
    ):
        pass


def test_many_at_once_are_each_told_their_own(client, model):
    many = torch.rand(60, *SHAPE, generator=torch.Generator().manual_seed(3))
    wanted = [model.ask(many[i : i + 1])[0].tolist() for i in range(60)]
    with client(faults=Faults(fail=0.1, drop=0.1, half=0.1)) as at, ThreadPoolExecutor(12) as pool:

        def ask(i):
            for _ in range(40):
                with suppress(httpx2.TransportError):
                    answer = asked(at, [b64(npy(many[i]))])
                    if answer.status_code == 200:
                        return answer.json()["scores"][0]
            return None

        got = list(pool.map(ask, range(60)))
        counts = at.get("/count").json()
    assert got == wanted
    assert (counts["distinct"], counts["unanswered"], counts["doubled"]) == (60, 0, 0)
    assert counts["requests"] == 60 + sum(counts["faults"].values())
    assert counts["most_open"] > 1
