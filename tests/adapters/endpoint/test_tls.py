"""No answer comes over a connection whose certificate does not hold."""

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.adapters.endpoint.conftest import owners, some
from tests.adapters.endpoint.server import Target

from robustly.core.errors import UsageError

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificates with openssl")


def openssl(words: str, folder: Path) -> None:
    subprocess.run(["openssl", *words.split()], check=True, capture_output=True, cwd=folder)


@contextmanager
def secure(folder: Path, certificate: str) -> Iterator[tuple[Target, str]]:
    """A server with one of the certificates of `signed`, and its address by the name that stands in them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / certificate, folder / "key.pem")
    with Target() as target:
        target.server.socket = context.wrap_socket(target.server.socket, server_side=True)
        yield target, target.url.replace("http://127.0.0.1", "https://localhost")


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    """A folder with key.pem, and good.pem and expired.pem for localhost, both signed by themselves."""
    (tmp_path / "names").write_text("subjectAltName=DNS:localhost")
    openssl("ecparam -name prime256v1 -genkey -noout -out key.pem", tmp_path)
    openssl("req -new -key key.pem -subj /CN=localhost -out asked.csr", tmp_path)
    for days, name in ((2, "good.pem"), (-1, "expired.pem")):
        openssl(f"x509 -req -in asked.csr -signkey key.pem -days {days} -extfile names -out {name}", tmp_path)
    return tmp_path


def test_a_server_that_speaks_no_tls(asking):
    with Target() as target, pytest.raises(UsageError, match=r"no secure connection to 127\.0\.0\.1 \(TLS\)"):
        asking(target.url.replace("http:", "https:")).ask(some(1), owners(1))


@needs_openssl
def test_a_certificate_nobody_vouches_for_is_refused_and_one_that_is_named_is_not(asking, signed):
    with secure(signed, "good.pem") as (target, url):
        told = r"no secure connection to localhost \(TLS\): self.signed certificate; .*write ca = FILE"
        with pytest.raises(UsageError, match=told):
            asking(url).ask(some(1), owners(1))
        assert target.requests == 0
        assert asking(url, ca=str(signed / "good.pem")).ask(some(2), owners(2)).answered.all()


@needs_openssl
def test_a_certificate_of_another_name_is_refused(asking, signed):
    with secure(signed, "good.pem") as (target, url):
        other = asking(url.replace("localhost", "127.0.0.1"), ca=str(signed / "good.pem"))
        with pytest.raises(UsageError, match=r"no secure connection to 127\.0\.0\.1 \(TLS\)") as error:
            other.ask(some(1), owners(1))
        assert "ca = FILE" not in str(error.value)
        assert target.requests == 0


@needs_openssl
def test_a_certificate_that_has_expired_is_refused(asking, signed):
    with secure(signed, "expired.pem") as (target, url):
        with pytest.raises(UsageError, match="certificate has expired") as error:
            asking(url, ca=str(signed / "expired.pem")).ask(some(1), owners(1))
        assert "ca = FILE" not in str(error.value)  # which would not help
        assert target.requests == 0
