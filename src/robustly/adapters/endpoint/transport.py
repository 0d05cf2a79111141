"""The connection: to the one host that was named, at the addresses it had at the start, whatever the environment says."""

from __future__ import annotations

import ipaddress
import socket
import ssl

import httpx2

from robustly.adapters.endpoint.settings import Settings
from robustly.core.errors import UsageError


class Pinned(httpx2.AsyncBaseTransport):
    """Connects to fixed addresses of one host, so that its name cannot come to mean another machine midway.

    The certificate is still checked against the name.
    """

    def __init__(self, host: str, addresses: tuple[str, ...], inner: httpx2.AsyncBaseTransport) -> None:
        self.host, self.addresses, self.inner = host, list(addresses), inner
        self._known: dict[tuple[httpx2.URL, str], httpx2.URL] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request to the first address that takes the connection.

        Raises:
            httpx2.ConnectError: none does, or the request is for another host.
        """
        if request.url.host != self.host:
            raise httpx2.ConnectError("a request to another host than the endpoint's was not sent", request=request)
        named = request.url
        failed: httpx2.ConnectError | httpx2.ConnectTimeout | None = None
        for address in list(self.addresses):
            request.url = self._at(named, address)
            request.extensions = {**request.extensions, "sni_hostname": self.host}
            try:
                return await self.inner.handle_async_request(request)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                failed = error
                if len(self.addresses) > 1:  # the next one first from now on
                    self.addresses.append(self.addresses.pop(self.addresses.index(address)))
            finally:
                request.url = named
        assert failed is not None
        raise failed

    def _at(self, named: httpx2.URL, address: str) -> httpx2.URL:
        if (named, address) not in self._known:
            self._known = {**self._known, (named, address): named.copy_with(host=address)}
        return self._known[named, address]

    async def aclose(self) -> None:
        """Close the connections."""
        await self.inner.aclose()


def addresses_of(host: str, port: int) -> tuple[str, ...]:
    """The addresses of a host.

    Raises:
        UsageError: it has none, or a name that stands for a link-local address, where clouds keep their metadata.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"cannot reach the endpoint: the host {host} is not known ({reason}). Check url and the network."
        ) from None
    addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
    for address in addresses:
        if address != host and ipaddress.ip_address(address.split("%")[0]).is_link_local:
            raise UsageError(f"the host {host} leads to {address}, a link-local address, which is no public endpoint.")
    return addresses


def client_for(settings: Settings) -> httpx2.AsyncClient:
    """A client for this endpoint alone: no proxy or other environment, no redirects, no cookies kept.

    Raises:
        UsageError: an unknown host, or a file of certificates that cannot be read.
    """
    url = httpx2.URL(settings.url)
    host, port = url.host, url.port or (443 if url.scheme == "https" else 80)
    limits = settings.limits
    pool = httpx2.Limits(max_connections=limits.concurrency, max_keepalive_connections=limits.concurrency)
    trust = _trust(settings.ca) if url.scheme == "https" else False  # which costs time to load, and is for TLS alone
    inner = httpx2.AsyncHTTPTransport(verify=trust, trust_env=False, limits=pool)
    addresses = addresses_of(host, port)
    each = limits.timeout / len(addresses)  # so that the next has its turn; `Sender.post` bounds the whole of a request
    return httpx2.AsyncClient(
        transport=Pinned(host, addresses, inner),
        timeout=httpx2.Timeout(None, connect=each),
        follow_redirects=False,
        trust_env=False,
        headers={"accept": "application/json", "accept-encoding": "identity", "user-agent": "robustly"},
    )


def _trust(ca: str | None) -> ssl.SSLContext | bool:
    if ca is None:
        return True
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"cannot read the certificates in {ca}: {error}.") from None


def why_not_connected(error: BaseException, settings: Settings) -> tuple[str, bool]:
    """What a failed connection says, and whether it may be otherwise the next time."""
    host = httpx2.URL(settings.url).host
    cause: BaseException | None = error
    while cause is not None:
        verified = "CERTIFICATE_VERIFY_FAILED" in str(cause)
        if verified or isinstance(cause, ssl.SSLError):
            told = str(cause).split("verify failed: ")[-1].split(" (_ssl")[0] if verified else str(cause)
            unknown = verified and told.startswith(("self", "unable"))  # rather than expired, or of another name
            remedy = "; if you trust who signed its certificate, write ca = FILE into the settings" if unknown else ""
            return f"no secure connection to {host} (TLS): {told}{remedy}", False
        cause = cause.__cause__ or cause.__context__
    return f"cannot reach the endpoint at {host}: {error or type(error).__name__}", True
