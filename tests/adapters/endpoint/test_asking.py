"""Questions to a real server: what comes back, what it costs, and what every fault of the way leads to."""

import gzip
import logging
import re
import shutil
import socket
import sqlite3
import ssl
import subprocess
import threading
import time

import numpy as np
import pytest
import torch
from tests.adapters.endpoint.conftest import owners, some
from tests.adapters.endpoint.server import CLASSES, SIZE, Reply, Target, linear

from robustly.adapters.endpoint.sending import seconds_asked
from robustly.core.errors import RunError, UsageError
from robustly.oracle.remote import BUDGET, STOPPED, UNANSWERED


def test_answers_are_those_of_the_server_in_order(asking):
    with Target() as target:
        one = asking(target.url, limits={"concurrency": 5, "batch": 3})
        x = some(20)
        replies = one.ask(x, owners(20))
        assert torch.allclose(replies.answers, torch.from_numpy(linear(x.numpy())).float())
        assert replies.answered.all()
        assert replies.spent.tolist() == [1] * 20
        assert (target.requests, target.inputs) == (7, 20)


def test_equal_bytes_are_asked_once_of_a_target_that_is_not_random(asking):
    with Target() as target:
        one = asking(target.url, check={"inputs": 2, "times": 1})
        x = some(4)
        one.settle(x, owners(4))
        assert one.random is False
        before = target.inputs
        one.ask(torch.cat([x, x]), torch.arange(8))
        assert target.inputs == before + 2  # the two that `settle` had not asked
        assert one.bill.cached == 2 * 2


def test_a_random_target_is_asked_anew_and_a_killed_one_gets_the_same_draws(asking, tmp_path):
    noise = np.random.default_rng(0)
    with Target(model=lambda x: linear(x) + noise.normal(size=(len(x), CLASSES))) as target:
        keep = tmp_path / "answers.sqlite"
        one = asking(target.url, keep)
        one.settle(some(4), owners(4))
        assert one.random is True
        one.begin("unit")
        first = one.ask(some(2, 1), owners(2))
        second = one.ask(some(2, 1), owners(2))
        assert not torch.equal(first.answers, second.answers)
        one.begin("next")
        third = one.ask(some(2, 1), owners(2))
        assert not torch.equal(first.answers, third.answers)
        one.close()
        sent = target.inputs
        again = asking(target.url, keep)
        again.settle(some(4), owners(4))
        again.begin("unit")
        assert torch.equal(again.ask(some(2, 1), owners(2)).answers, first.answers)
        assert torch.equal(again.ask(some(2, 1), owners(2)).answers, second.answers)
        assert target.inputs == sent


def test_a_budget_of_the_campaign_is_never_exceeded(asking):
    with Target(lambda n, x: Reply(503) if n % 3 == 0 else None) as target:
        one = asking(target.url, limits={"budget": 25, "concurrency": 8, "failures": 1000})
        replies = [one.ask(some(10, seed), owners(10)) for seed in range(5)]
        assert target.inputs == 25 == one.bill.sent
        assert one.ended == "the query budget ended"
        assert replies[-1].why[0] == (BUDGET, "the query budget ended")
        assert not replies[-1].answered.any()


def test_a_budget_of_an_example_is_its_own(asking):
    with Target() as target:
        one = asking(target.url, limits={"queries": 3})
        who = torch.tensor([0, 0, 0, 0, 0, 1, 1])
        replies = one.ask(some(7), who)
        assert replies.answered.tolist() == [True] * 3 + [False] * 2 + [True] * 2
        assert replies.why[3][0] == BUDGET
        assert not one.ended
        held = one.ask(some(2, 1), torch.tensor([1, 1]), held=1)
        assert not held.answered.any()
        assert one.ask(some(1, 2), torch.tensor([1])).answered.all()
        assert target.inputs == 6


def test_what_a_caller_allows_is_kept_with_retries_included(asking):
    with Target(lambda n, x: Reply(500) if n > 1 else None) as target:
        one = asking(target.url, limits={"retries": 9, "failures": 1000})
        one.ask(some(1), owners(1))
        replies = one.ask(some(2, 1), torch.tensor([0, 1]), left=torch.tensor([3, 1]))
        assert target.inputs == 1 + 3 + 1
        assert replies.spent.tolist() == [3, 1]
        assert [replies.why[row][0] for row in (0, 1)] == [BUDGET, BUDGET]


def test_an_equal_question_is_paid_by_whoever_can(asking):
    with Target() as target:
        one = asking(target.url, limits={"queries": 2}, check={"inputs": 2, "times": 1})
        one.settle(some(2), owners(2))
        one.ask(some(1, 1), torch.tensor([0]))  # example 0 has nothing left
        same = some(1, 2)
        replies = one.ask(torch.cat([same, same]), torch.tensor([0, 1]))
        assert replies.answered.all()
        assert one.spent_on(1) == 2
        assert target.inputs == 4 + 1 + 1


def test_answers_survive_and_nothing_is_paid_twice(asking, tmp_path):
    keep = tmp_path / "answers.sqlite"
    with Target() as target:
        first = asking(target.url, keep)
        first.settle(some(4), owners(4))
        said = first.ask(some(9), owners(9))
        first.close()
        sent = target.inputs
        again = asking(target.url, keep)
        again.settle(some(4), owners(4))
        replies = again.ask(some(9), owners(9))
        assert torch.equal(replies.answers, said.answers)
        assert torch.equal(replies.spent, said.spent)
        assert target.inputs == sent == again.bill.sent
        again.close()
        other = asking(target.url, keep, headers={"x-model": "b"})
        with pytest.raises(UsageError, match=r"keeps the answers of .* under other settings"):
            other.ask(some(1), owners(1))


def test_one_process_at_a_time(asking, tmp_path):
    with Target() as target:
        asking(target.url, tmp_path / "a.sqlite").ask(some(1), owners(1))
        with pytest.raises(UsageError, match="another process is running in"):
            asking(target.url, tmp_path / "a.sqlite").ask(some(1), owners(1))


PASSING = {
    "busy": Reply(429),
    "busy with a wait": Reply(429, headers={"retry-after": "0.01"}),
    "500": Reply(500),
    "503": Reply(503, headers={"retry-after": "0"}),
    "html": Reply(200, b"<html>"),
    "half a body": Reply(200, b'{"scores": [[1,2,3,4]]}', cut=60),
    "nothing": Reply(200, cut=0),
    "too slow": Reply(200, hang=4.0),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING.keys())
def test_what_passes_is_tried_again_and_paid_again(asking, fault):
    with Target(lambda n, x: fault if n == 2 else None) as target:
        one = asking(target.url, limits={"timeout": 3.0})
        one.ask(some(1), owners(1))
        replies = one.ask(some(1, 1), owners(1))
        assert replies.answered.all()
        assert replies.spent.tolist() == [2]
        assert (target.inputs, one.bill.retries) == (3, 1)


def test_what_does_not_pass_is_an_error_of_the_example_alone(asking):
    bad = some(1, 7).numpy()
    with Target(lambda n, x: Reply(500, b"boom") if np.allclose(x, bad) else None) as target:
        one = asking(target.url, limits={"retries": 2})
        one.ask(some(1), owners(1))
        replies = one.ask(torch.cat([some(3), torch.from_numpy(bad)]), owners(4))
        assert replies.answered.tolist() == [True, True, True, False]
        assert replies.why[3] == (UNANSWERED, "the endpoint answered 500 X: boom")
        assert replies.spent.tolist() == [1, 1, 1, 3]
        assert not one.ended
        assert target.requests == 1 + 3 + 3


FINAL = {
    "400 bad": (Reply(400, b'{"error": "wants 28x28"}'), 'answered 400 X: {"error": "wants 28x28"}'),
    "401": (Reply(401), r"answered 401 X \(is the secret right\?\)"),
    "404": (Reply(404), r"answered 404 X \(is the url right\?\)"),
    "redirect": (
        Reply(302, headers={"location": "http://169.254.169.254/latest/meta-data"}),
        "a redirect to http://169.254.169.254/latest/meta-data, which is not followed",
    ),
    "large": (Reply(200, b"1" * 5000), "larger than 4096 bytes"),
    "bomb": (
        Reply(200, gzip.compress(b"[" + b"1," * 2_000_000), {"content-encoding": "gzip"}),
        "larger than 4096 bytes",
    ),
    "no path": (Reply(200, {"probabilities": [[1, 2]]}), 'nothing stands at "scores"'),
    "nan": (Reply(200, b'{"scores": [[NaN, 1, 2, 3]]}'), "answered nan as a score"),
}


@pytest.mark.parametrize(("fault", "told"), FINAL.values(), ids=FINAL.keys())
def test_what_is_wrong_at_first_contact_is_paid_once(asking, fault, told):
    with Target(lambda n, x: fault) as target:
        one = asking(target.url, limits={"largest": 4096})
        with pytest.raises(UsageError, match=told):
            one.ask(some(30), owners(30))
        assert target.requests == 1


@pytest.mark.parametrize(("fault", "told"), list(FINAL.values())[:6], ids=list(FINAL)[:6])
def test_what_becomes_wrong_later_ends_the_campaign_and_keeps_what_there_is(asking, fault, told):
    with Target(lambda n, x: fault if n >= 6 else None) as target:
        one = asking(target.url, limits={"largest": 4096, "concurrency": 2})
        replies = one.ask(some(30), owners(30))
        assert 4 <= int(replies.answered.sum()) <= 6
        assert target.requests <= 8
        assert {why[0] for why in replies.why.values()} == {STOPPED}
        assert not one.ask(some(1, 9), owners(1)).answered.any()
        assert target.requests <= 8
        assert re.search(told, one.ended)


def test_nan_on_some_input_is_an_error_of_it_alone_and_kept(asking):
    bad = some(1, 7).numpy()
    with Target(lambda n, x: Reply(200, b'{"scores": [[NaN, 1, 2, 3]]}') if np.allclose(x, bad) else None) as target:
        one = asking(target.url)
        one.settle(some(4), owners(4))
        replies = one.ask(torch.cat([some(2), torch.from_numpy(bad)]), owners(3))
        assert replies.why == {2: (UNANSWERED, "the endpoint answered nan as a score, which is no finite number")}
        assert torch.isfinite(replies.answers).all()
        sent = target.inputs
        assert not one.ask(torch.from_numpy(bad), owners(1)).answered.any()
        assert target.inputs == sent


def test_too_many_failures_in_a_row_end_the_campaign(asking):
    with Target(lambda n, x: Reply(500) if n > 5 else None) as target:
        one = asking(target.url, limits={"failures": 7, "retries": 100, "concurrency": 2})
        one.ask(some(5), owners(5))
        replies = one.ask(some(50, 1), owners(50))
        assert "7 tries failed in a row, the last one: the endpoint answered 500" in one.ended
        assert not replies.answered.any()
        assert target.requests <= 5 + 7 + 2


def test_garbage_that_is_json_ends_it_too(asking):
    with Target(lambda n, x: Reply(200, {"error": "overloaded"}) if n > 5 else None) as target:
        one = asking(target.url, limits={"failures": 7, "concurrency": 1})
        one.ask(some(5), owners(5))
        one.ask(some(50, 1), owners(50))
        assert "in a row" in one.ended
        assert target.requests == 5 + 7


def test_a_host_that_cannot_be_reached(asking):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UsageError, match=r"cannot reach the endpoint at 127\.0\.0\.1.*Nothing was answered yet"):
        asking(f"http://127.0.0.1:{port}/", limits={"retries": 1}).ask(some(3), owners(3))
    with pytest.raises(UsageError, match=r"the host no-such-host\.invalid is not known"):
        asking("http://no-such-host.invalid/").ask(some(1), owners(1))


def test_a_server_that_speaks_no_tls(asking):
    with Target() as target, pytest.raises(UsageError, match=r"no secure connection to 127\.0\.0\.1 \(TLS\)"):
        asking(target.url.replace("http:", "https:")).ask(some(1), owners(1))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificates with openssl")
def test_a_certificate_nobody_vouches_for(asking, tmp_path):
    pair = [str(tmp_path / "key.pem"), str(tmp_path / "cert.pem")]
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", pair[0], "-out", pair[1]]
    subprocess.run([*command, *subject], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair[1], pair[0])
    with Target() as target:
        target.server.socket = context.wrap_socket(target.server.socket, server_side=True)
        url = target.url.replace("http://127.0.0.1", "https://localhost")
        with pytest.raises(
            UsageError, match=r"no secure connection to localhost \(TLS\): self.signed certificate.*ca = FILE"
        ):
            asking(url).ask(some(1), owners(1))
        assert target.requests == 0
        trusted = asking(url, ca=pair[1])
        assert trusted.ask(some(2), owners(2)).answered.all()
        wrong = asking(url.replace("localhost", "127.0.0.1"), ca=pair[1])  # another name than the certificate's
        with pytest.raises(UsageError, match="no secure connection"):
            wrong.ask(some(1), owners(1))


def test_a_name_for_a_link_local_address_is_refused(asking, monkeypatch):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(UsageError, match=r"leads to 169\.254\.169\.254, a link-local address"):
        asking("http://metadata.example/").ask(some(1), owners(1))


def test_the_name_is_looked_up_once(asking, monkeypatch):
    with Target() as target:
        url = target.url.replace("127.0.0.1", "endpoint.example")
        port = target.server.server_address[1]
        looked: list[str] = []

        def lookup(host, *_, **__):
            looked.append(host)
            address = "127.0.0.1" if looked.count("endpoint.example") == 1 else "203.0.113.1"
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

        monkeypatch.setattr(socket, "getaddrinfo", lookup)
        one = asking(url)
        one.ask(some(3), owners(3))
        assert looked.count("endpoint.example") == 1
        assert target.seen[0]["host"] == f"endpoint.example:{port}"


def test_the_environment_sends_nothing_elsewhere(asking, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://203.0.113.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://203.0.113.1:1")
    with Target() as target:
        assert asking(target.url).ask(some(1), owners(1)).answered.all()


def test_a_rate_is_kept(asking):
    with Target() as target:
        one = asking(target.url, limits={"rate": 50, "concurrency": 8})
        one.ask(some(25), owners(25))
        times = np.array(target.times)
        assert times[-1] - times[0] >= 24 / 50 - 0.05
        slow = asking(target.url, limits={"examples_per_second": 100, "batch": 10})
        begun = time.monotonic()
        slow.ask(some(40, 1), owners(40))
        assert time.monotonic() - begun >= 0.3


def test_retry_after_is_honoured_and_capped(asking):
    with Target(lambda n, x: Reply(429, headers={"retry-after": "0.5"}) if n == 2 else None) as target:
        one = asking(target.url, limits={"wait": 5.0})
        one.ask(some(1), owners(1))
        one.ask(some(1, 1), owners(1))
        assert target.times[2] - target.times[1] >= 0.5
    with Target(lambda n, x: Reply(429, headers={"retry-after": "86400"}) if n == 2 else None) as target:
        one = asking(target.url, limits={"wait": 0.1})
        one.ask(some(1), owners(1))
        begun = time.monotonic()
        one.ask(some(1, 1), owners(1))
        assert time.monotonic() - begun < 2


def test_forms_of_retry_after():
    assert seconds_asked("3") == 3.0
    assert seconds_asked("Sat, 21 Nov 2026 10:00:07 GMT", "Sat, 21 Nov 2026 10:00:00 GMT") == 7.0
    for odd in ("-5", "soon", "nan", "inf", "Sat, 21 Nov 2026 09:00:00 GMT", "", None):
        assert seconds_asked(odd, "Sat, 21 Nov 2026 10:00:00 GMT") is None


def test_a_target_that_changes_is_noticed_and_stops_the_campaign(asking):
    seed = [0]
    with Target(model=lambda x: linear(x, seed[0])) as target:
        one = asking(target.url, check={"inputs": 3, "times": 1, "every": 10})
        one.settle(some(3), owners(3))
        one.ask(some(12, 1), owners(12))
        assert not one.changed
        seed[0] = 1
        one.ask(some(12, 2), owners(12))
        replies = one.ask(some(12, 3), owners(12))
        assert "the target changed: after" in one.changed
        assert not replies.answered.any()
        assert replies.why[0][0] == STOPPED
        going = asking(target.url, check={"inputs": 3, "times": 1, "every": 10, "on_change": "go on"})
        going.settle(some(3), owners(3))
        seed[0] = 2
        going.ask(some(12, 2), owners(12))
        assert going.ask(some(12, 3), owners(12)).answered.all()
        assert going.changed


def test_a_target_that_changed_between_two_processes_is_noticed_before_it_is_asked(asking, tmp_path):
    seed = [0]
    with Target(model=lambda x: linear(x, seed[0])) as target:
        keep = tmp_path / "a.sqlite"
        one = asking(target.url, keep)
        one.settle(some(4), owners(4))
        one.close()
        seed[0] = 1
        again = asking(target.url, keep)
        again.settle(some(4), owners(4))
        sent = target.inputs
        assert not again.ask(some(5, 1), owners(5)).answered.any()
        assert "changed" in again.ended
        assert target.inputs == sent + 4


def test_a_budget_too_small_for_one_step(asking):
    with Target() as target:
        with pytest.raises(UsageError, match=r"a budget of 8 queries is too small for one step.*limits\.budget = 13"):
            asking(target.url, limits={"budget": 8}).settle(some(4), owners(4))
        with pytest.raises(UsageError, match="a budget of 1 query an example is too small"):
            asking(target.url, limits={"queries": 1}).settle(some(4), owners(4))
        assert target.requests == 0


MARKER = "marker-s3cr3t/ä"


def test_the_secret_reaches_the_server_and_nothing_else(asking, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("ENDPOINT_TEST_KEY", "marker-s3cr3t")
    caplog.set_level(logging.DEBUG)
    logging.getLogger("httpx2").setLevel(logging.DEBUG)
    echo = Reply(403, b"the key marker-s3cr3t is not allowed")
    with Target(lambda n, x: echo if n == 3 else Reply(500, b"marker-s3cr3t") if n == 2 else None) as target:
        keep = tmp_path / "a.sqlite"
        one = asking(
            target.url + "?key={secret}",
            keep,
            headers={"Authorization": "Bearer {secret}"},
            secret={"env": "ENDPOINT_TEST_KEY"},
        )
        one.ask(some(1), owners(1))
        replies = one.ask(some(1, 1), owners(1))
        with pytest.raises(RunError) as error:
            one(some(1, 2))
        assert target.seen[0]["authorization"] == "Bearer marker-s3cr3t"
        assert target.paths[0].endswith("?key=marker-s3cr3t")
        one.close()
    assert "[secret]" in str(error.value)
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    said = [
        str(error.value),
        repr(error.value.__context__),
        repr(replies),
        repr(one.settings),
        repr(vars(one)),
        caplog.text,
    ]
    assert "HTTP Request" in caplog.text
    assert b"marker" not in written
    assert not any("marker" in text for text in said)


def test_an_interruption_keeps_what_was_answered(asking, tmp_path):
    class Stop(BaseException):
        pass

    with Target(delay=0.05) as target:
        one = asking(target.url, tmp_path / "a.sqlite", limits={"concurrency": 2})
        one.settle(some(4), owners(4))

        def stop() -> None:
            if target.requests > 20:
                raise Stop

        one.watch = stop
        with pytest.raises(Stop):
            one.ask(some(200, 1), owners(200))
        one.close()
        with sqlite3.connect(tmp_path / "a.sqlite") as db:
            kept = db.execute("SELECT COUNT(*) FROM answers").fetchone()[0]
        assert kept >= 10
        assert target.requests < 100
        time.sleep(0.1)
        again = asking(target.url, tmp_path / "a.sqlite")
        again.settle(some(4), owners(4))
        assert again.ask(some(200, 1), owners(200)).answered.all()
        assert sum(target.answered.values()) - len(target.answered) <= 4 * 3 + 4  # canaries, and what was under way


def test_it_works_where_a_loop_is_running(asking):
    import asyncio

    async def main(one):
        return one.ask(some(2), owners(2))

    with Target() as target:
        assert asyncio.run(main(asking(target.url))).answered.all()


def test_threads_end_with_it(asking):
    with Target() as target:
        one = asking(target.url)
        one.ask(some(2), owners(2))
        one.close()
        time.sleep(0.05)
        assert not [t for t in threading.enumerate() if t.name.startswith("robustly")]
        assert SIZE == 16


@pytest.mark.parametrize(
    "body",
    [
        {"error": f"no such key: {'m' * 30} marker-s3cr3t"},
        {"scores": [["marker-s3cr3t"] * 4] * 2},
        {"marker-s3cr3t": 1},
        b"<html>" + b"x" * 175 + b"marker-s3cr3t is wrong",  # a text is cut within it
        {"labels": ["marker-s3cr3t"] * 2},
    ],
)
def test_an_answer_that_repeats_the_secret_is_told_without_it(asking, tmp_path, monkeypatch, body):
    monkeypatch.setenv("ENDPOINT_TEST_KEY", "marker-s3cr3t")
    tables = {"headers": {"x-key": "{secret}"}, "secret": {"env": "ENDPOINT_TEST_KEY"}, "names": ["a", "b", "c", "d"]}
    tables["limits"] = {"retries": 0, "failures": 3}
    with Target(lambda n, x: Reply(200, body)) as target, pytest.raises(UsageError) as error:
        asking(target.url, **tables).ask(some(2), owners(2))
    assert "mark" not in str(error.value)
    with Target(lambda n, x: None if n == 1 else Reply(200, body)) as target:
        later = asking(target.url, tmp_path / "answers.sqlite", **tables)
        said = [why for _, why in later.ask(some(4), owners(4)).why.values()]
        assert said
        assert not any("mark" in why for why in [*said, later.ended])
        later.close()
    assert not any(b"marker" in path.read_bytes() for path in tmp_path.iterdir())


def test_a_server_that_only_ever_says_wait_ends_the_campaign(asking):
    """A quota that is used up: a few questions are tried to the end, and not each of thousands."""
    with Target(lambda n, x: Reply(429, b"quota used up") if n > 10 else None) as target:
        made = asking(target.url, limits={"retries": 2, "failures": 5, "concurrency": 2})
        replies = made.ask(some(300), owners(300))
        assert "429" in made.ended
        assert "quota used up" in made.ended
        assert int(replies.answered.sum()) == 10
        assert target.inputs <= 10 + 3 * (5 + 2)


def test_a_redirect_is_told_with_its_port(asking):
    with Target() as other:
        place = other.url.replace("http://", "http://user:password@")
        with (
            Target(lambda n, x: Reply(307, b"", {"location": place})) as target,
            pytest.raises(UsageError, match=f"a redirect to {re.escape(other.url)}, which is not followed"),
        ):
            asking(target.url).ask(some(1), owners(1))
        assert other.requests == 0
