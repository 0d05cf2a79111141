"""The settings file: what it says wrong is told with its place, and no secret of it."""

import pytest

from robustly.adapters.endpoint.secret import identity, read_secret
from robustly.adapters.endpoint.settings import Settings, read_settings
from robustly.core.errors import UsageError

WRONG = [
    ("url = 3", "url: input should be a valid string"),
    ("uri = 'http://h/'\nurl = 'http://h/'", 'unknown key "uri". Did you mean "url"?'),
    ("url = 'http://h/'\n[limits]\nbugdet = 3", 'unknown key "limits.bugdet". Did you mean "budget"?'),
    ("url = 'ftp://h/'", 'url is an address such as "https://host/path"'),
    ("url = 'http://u:p@h/'", "url holds a user or a password"),
    ("url = 'http://h/'\nheaders = {A = '{secret}'}", r"\{secret\} is used, but there is no \[secret\]"),
    ("url = 'http://h/'\n[secret]", 'secret: write env = "NAME"'),
    ("url = 'http://h/'\n[limits]\nbudget = 0", "limits.budget: input should be greater than or equal to 1"),
    ("url = 'http://h/'\n[limits]\nrate = nan", "limits.rate"),
    ("url = 'http://h/'\n[request]\nkind = 'multipart'", 'a multipart request carries input = "png"'),
    ("url = 'http://h/'\n[request]\nbody = '{}'", "body has {inputs}"),
    ("url = 'http://h/'\n[request]\ninput = 'png'\ndecimals = 2", 'decimals are of input = "list"'),
    (
        "url = 'http://h/'\n[request]\nbody = '{input}'\n[limits]\nbatch = 2",
        "limits.batch is 2, but the request carries one",
    ),
    ("url = 'http://h/'\n[request]\nbody = '{inputs} {secret}'", "not in a body: write a header"),
    ("url = 'http://h/'\n[answer]", "answer: write scores"),
    ("url = 'http://h/'\nrange = [1, 0]", "range is"),
    ("url = 'http://h/'\nnames = ['a', 'b']\nclasses = 3", "2 names for 3 classes"),
    ("url = 'http://h/'\nnames = ['a', 'a']", "names of classes differ"),
    ("", "url is missing"),
    ("url = ", "is not valid TOML"),
]


@pytest.mark.parametrize(("text", "told"), WRONG, ids=[told[:40] for _, told in WRONG])
def test_what_is_wrong_is_told(tmp_path, text, told):
    path = tmp_path / "endpoint.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=told) as error:
        read_settings(path)
    assert "endpoint.toml" in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match=r"cannot read the endpoint settings .*none\.toml"):
        read_settings(tmp_path / "none.toml")
    with pytest.raises(UsageError, match="an endpoint has an address"):
        read_settings(None)


def test_an_address_beside_the_file(tmp_path):
    path = tmp_path / "endpoint.toml"
    path.write_text("[limits]\nbudget = 5")
    assert read_settings(path, "http://h/p").url == "http://h/p"
    path.write_text("url = 'http://h/p?key=abc'")
    assert read_settings(path, "http://h/p").url == "http://h/p?key=abc"
    assert read_settings(path).shown_url == "http://h/p"
    with pytest.raises(UsageError, match="is for another address than the one given"):
        read_settings(path, "http://other/p")


def test_the_docstring_is_a_settings_file(tmp_path):
    from robustly.adapters.endpoint import settings

    text = "\n".join((settings.__doc__ or "").splitlines()[1:])
    path = tmp_path / "endpoint.toml"
    path.write_text(text)
    assert read_settings(path).limits.budget == 100000


def test_a_secret_of_the_environment_or_a_file(tmp_path, monkeypatch):
    told = Settings.model_validate({"url": "http://h/", "secret": {"env": "ENDPOINT_TEST_KEY"}})
    monkeypatch.delenv("ENDPOINT_TEST_KEY", raising=False)
    with pytest.raises(UsageError, match="environment variable ENDPOINT_TEST_KEY, which is not set"):
        read_secret(told)
    monkeypatch.setenv("ENDPOINT_TEST_KEY", "marker-123\n")
    assert read_secret(told).filled("Bearer {secret}") == "Bearer marker-123"
    assert "marker" not in repr(vars(read_secret(told)))
    path = tmp_path / "endpoint.toml"
    path.write_text("url = 'http://h/?k={secret}'\n[secret]\nfile = 'key.txt'")
    with pytest.raises(UsageError, match=r"cannot read the endpoint's secret from .*key\.txt"):
        read_secret(read_settings(path))
    (tmp_path / "key.txt").write_text("a b/c\n")
    secret = read_secret(read_settings(path))
    assert secret.filled_url("http://h/?k={secret}") == "http://h/?k=a%20b%2Fc"
    assert secret.hidden("you sent a b/c, that is a%20b%2Fc") == "you sent [secret], that is [secret]"
    (tmp_path / "key.txt").write_text("")
    with pytest.raises(UsageError, match="which is empty"):
        read_secret(read_settings(path))
    (tmp_path / "key.txt").write_text("one\nInjected: two")
    with pytest.raises(UsageError, match="control character"):
        read_secret(read_settings(path))


def test_identity_is_of_what_is_asked_and_not_of_how_fast():
    one = Settings(url="http://h/")
    same = Settings.model_validate({"url": "http://h/", "limits": {"budget": 3}, "secret": {"env": "X"}})
    other = Settings.model_validate({"url": "http://h/", "request": {"decimals": 3}})
    assert identity(one) == identity(same) != identity(other)
