"""The secret reaches the server and nothing else."""

import logging

import pytest
from tests.adapters.endpoint.conftest import owners, some
from tests.adapters.endpoint.server import Reply, Target

from robustly.core.errors import RunError, UsageError


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
