"""One request, and the tries it takes: what is worth another, how long to wait for it, and what ends the campaign."""

from __future__ import annotations

import asyncio
import logging
import math
import zlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2
import stamina

from robustly.adapters.endpoint.faults import Final, Misfit, Passing
from robustly.adapters.endpoint.pacing import Pace
from robustly.adapters.endpoint.secret import Secret
from robustly.adapters.endpoint.settings import Settings
from robustly.adapters.endpoint.transport import client_for, why_not_connected

BUSY, PATIENT = 429, (408, 425)
"""Statuses that ask for another try, besides those of a server that failed (5xx)."""
SHOWN = 300
"""Characters that are repeated of what a server said."""

logging.getLogger("stamina").addHandler(logging.NullHandler())  # a line a retry on stderr is not wanted


class Sender:
    """A client for one endpoint. Counts the tries that failed in a row; beyond the limit, all that follow are final."""

    def __init__(self, settings: Settings, secret: Secret) -> None:
        self.settings, self.secret = settings, secret
        self.client = client_for(settings)
        secret.keep_out_of_logs()
        self.pace = Pace(settings.limits)
        self.failed = 0
        try:
            self._url = httpx2.URL(secret.filled_url(settings.url))
            self._headers = [(k.encode(), secret.filled(v).encode()) for k, v in settings.headers.items()]
        except (httpx2.InvalidURL, UnicodeEncodeError):
            raise Final("the endpoint's url or headers have signs in them that HTTP does not carry") from None

    async def tries(self, once: Callable[[int], Awaitable[None]]) -> None:
        """Call once(number of the try) until it is through.

        Raises:
            Passing: it still was not after the last try.
            Final: no other try is any use, or too many failed in a row.
        """
        try:
            return await self._counted(once, 1)
        except Passing as error:
            first = error  # nearly all questions take one try, and so go without what is needed for several
        limits = self.settings.limits
        context = stamina.retry_context(
            on=self._again,
            attempts=limits.retries + 1,
            timeout=None,
            wait_initial=min(0.1, limits.wait),
            wait_max=min(10.0, limits.wait),
            wait_jitter=min(1.0, limits.wait),
        )
        try:
            async for attempt in context:
                with attempt:
                    if attempt.num == 1:
                        raise first
                    await self._counted(once, attempt.num)
        except Passing as error:
            if error.busy:  # to be told to wait is no failure, but to be told so at every try is one
                self.count(error)
            raise

    async def _counted(self, once: Callable[[int], Awaitable[None]], number: int) -> None:
        try:
            await once(number)
        except (Passing, Misfit) as error:
            if not (isinstance(error, Passing) and error.busy):
                self.count(error)
            raise

    def count(self, error: Exception | None) -> None:
        """Another try failed, or one was through (None).

        Raises:
            Final: too many failed in a row.
        """
        if error is None:
            self.failed = 0
            return
        self.failed += 1
        if self.failed >= self.settings.limits.failures:
            raise Final(f"{self.failed} tries failed in a row, the last one: {error}") from None

    def _again(self, error: Exception) -> bool | float:
        """Whether to try again, or after how many seconds."""
        if not isinstance(error, Passing):
            return False
        if error.wait is None:
            return True
        wait = min(error.wait, self.settings.limits.wait)
        if error.busy:
            self.pace.rest(wait)
        return wait

    async def post(self, body: bytes, kind: str) -> bytes:
        """Send a request; what was answered with a status of success.

        Raises:
            Passing: not now. Final: not ever.
        """
        limits = self.settings.limits
        headers = [(b"content-type", kind.encode()), *self._headers]
        try:
            async with asyncio.timeout(limits.timeout):
                request = self.client.build_request(self.settings.method, self._url, content=body, headers=headers)
                response = await self.client.send(request, stream=True)
                try:
                    content = await self._content(response)
                finally:
                    await response.aclose()
        except (TimeoutError, httpx2.TimeoutException):
            raise Passing(f"no whole answer within {limits.timeout:g} s") from None
        except httpx2.ConnectError as error:
            told, passing = why_not_connected(error, self.settings)
            raise (Passing if passing else Final)(self.secret.hidden(told)) from None
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            raise Passing(f"the connection broke: {self._said(str(error) or type(error).__name__)}") from None
        self._refuse(response, content)
        return content

    async def _content(self, response: httpx2.Response) -> bytes:
        """The body, of which no more is held than is allowed, however small it was made for the way."""
        most = self.settings.limits.largest
        coding = response.headers.get("content-encoding", "identity").strip().lower()
        if coding not in ("identity", "", "gzip", "deflate"):
            raise Passing(f"the answer is encoded as {self._said(coding)[:20]}, which was not asked for")
        unpack = None if coding in ("identity", "") else zlib.decompressobj(47)
        out = bytearray()
        async for piece in response.aiter_raw():
            try:
                out += piece if unpack is None else unpack.decompress(piece, most + 1 - len(out))
            except zlib.error:
                raise Passing("the answer does not unpack") from None
            if len(out) > most:
                raise Final(f"an answer is larger than {most} bytes: limits.largest allows no more")
        return bytes(out)

    def _refuse(self, response: httpx2.Response, content: bytes) -> None:
        status = response.status_code
        if 200 <= status < 300:
            return
        said = self._said(content[: 8 * SHOWN].decode("utf-8", "replace"))
        told = f"the endpoint answered {status} {self._said(response.reason_phrase)[:40]}" + (
            f": {said}" if said else ""
        )
        if 300 <= status < 400:
            raise Final(f"{told.split(':')[0]}, a redirect to {self._place(response)}, which is not followed: write the "
                        "right address as url, if you trust it")  # fmt: skip
        if status == BUSY:
            raise Passing(told, seconds_asked(response.headers.get("retry-after"), response.headers.get("date")), True)
        if status in PATIENT or status >= 500:
            raise Passing(told, seconds_asked(response.headers.get("retry-after"), response.headers.get("date")))
        remedy = {401: " (is the secret right?)", 403: " (is the secret right?)", 404: " (is the url right?)"}
        raise Final(told + remedy.get(status, ""))

    def _place(self, response: httpx2.Response) -> str:
        try:
            to = response.request.url.join(response.headers.get("location", ""))
            port = f":{to.port}" if to.port else ""  # netloc would tell a user and a password too
            return self._said(f"{to.scheme}://{to.host}{port}{to.path}")
        except (httpx2.InvalidURL, ValueError):
            return "nowhere"

    def _said(self, text: str) -> str:
        """What a server said: short, printable, and without the secret."""
        text = "".join(sign if sign.isprintable() else " " for sign in self.secret.hidden(text))
        text = " ".join(text.split())
        return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def seconds_asked(header: str | None, date: str | None = None) -> float | None:
    """The seconds a Retry-After asks for, a number or a date; None where it says nothing that makes sense.

    A date is read against the server's own `date`, if it has one: the two clocks may differ.
    """
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            then, now = parsedate_to_datetime(header), datetime.now(UTC)
            if date is not None:
                now = parsedate_to_datetime(date)
            seconds = (_aware(then) - _aware(now)).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _aware(when: datetime) -> datetime:
    return when if when.tzinfo else when.replace(tzinfo=UTC)
