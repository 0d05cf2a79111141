"""The secret: read when it is needed, put into headers and the address, and kept out of everything that is written."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path
from urllib.parse import quote

from pydantic import SecretStr

from robustly.adapters.endpoint.settings import Settings
from robustly.core.errors import UsageError

HOLE = "{secret}"
SHORTEST = 4
"""Shorter secrets are not sought in texts: every other word would be hidden."""


class Secret:
    """What the secret is, if there is one. Its text leaves this object only on its way to the server."""

    def __init__(self, value: str | None) -> None:
        self._value = None if value is None else SecretStr(value)

    def filled(self, text: str) -> str:
        """The text with the secret in its place."""
        return text if self._value is None else text.replace(HOLE, self._value.get_secret_value())

    def filled_url(self, url: str) -> str:
        """The address with the secret in its place, escaped."""
        return url if self._value is None else url.replace(HOLE, quote(self._value.get_secret_value(), safe=""))

    def hidden(self, text: str) -> str:
        """The text without the secret, should someone have repeated it."""
        if self._value is None:
            return text
        value = self._value.get_secret_value()
        for form in {value, quote(value, safe=""), json.dumps(value)[1:-1]}:
            text = text.replace(form, "[secret]") if len(form) >= SHORTEST else text
        return text

    def keep_out_of_logs(self) -> None:
        """Hide it in what the libraries underneath log, which write down whole addresses."""
        if self._value is None:
            return
        for name in list(logging.root.manager.loggerDict):
            if name.split(".")[0] in ("httpx2", "httpcore2", "stamina"):
                logging.getLogger(name).addFilter(self._clean)

    def _clean(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self.hidden(record.getMessage()), None
        return True


def read_secret(settings: Settings) -> Secret:
    """The secret that the settings name.

    Raises:
        UsageError: the variable is not set, or the file cannot be read, or it is empty.
    """
    source = settings.secret
    if source is None:
        return Secret(None)
    if source.env is not None:
        value = os.environ.get(source.env)
        if not value:
            raise UsageError(f"the endpoint's secret is in the environment variable {source.env}, which is not set.")
    else:
        try:
            value = Path(str(source.file)).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise UsageError(f"cannot read the endpoint's secret from {source.file}: {reason}.") from None
        if not value:
            raise UsageError(f"the endpoint's secret is in {source.file}, which is empty.")
    if any(ord(sign) < 32 or ord(sign) == 127 for sign in value.strip()):
        raise UsageError("the endpoint's secret has a control character in it, such as a line break in its middle.")
    return Secret(value.strip())


def identity(settings: Settings) -> str:
    """A hash of all that makes the endpoint what it is: not the secret, nor how fast or how much may be asked."""
    about = settings.model_dump(mode="json", exclude={"limits", "check", "secret", "ca"})
    text = json.dumps(about, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
