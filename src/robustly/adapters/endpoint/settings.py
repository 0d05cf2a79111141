"""The settings of an endpoint: a TOML file that says how a question is put and where the answer lies.

url = "https://api.example.com/predict"
headers = { Authorization = "Bearer {secret}" }
names = ["cat", "dog"]        # of the classes, in the order of the labels
range = [0, 1]                # of input values; that of the data if left out

[secret]
env = "EXAMPLE_KEY"           # or file = "key.txt", beside this file

[request]
kind = "json"                 # or "multipart", one input a request
input = "list"                # nested lists; "png" or "npy": base64 in JSON, bytes in multipart; "text"
decimals = 4                  # of numbers in lists; all digits if left out
body = '{"inputs": {inputs}}' # {inputs}: a list of them; or {input}: one a request

[answer]
scores = "scores"             # a JMESPath to a row of scores an input
label = "labels"              # or to a label an input, where there are no scores

[limits]
concurrency = 8               # requests in flight
batch = 1                     # inputs a request
rate = 20                     # requests a second; examples_per_second for inputs
timeout = 30                  # seconds a request
retries = 5
failures = 50                 # in a row end the campaign
queries = 2500                # most an example, every try included
budget = 100000               # most in the whole campaign
price = 0.001                 # of a query

[check]
inputs = 4                    # asked again at the start and after so many queries: has the target changed?
times = 2
every = 1000
on_change = "stop"            # or "go on"
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from robustly.core.errors import UsageError, nearest


class Part(BaseModel):
    """Immutable; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SecretSource(Part):
    """Where the secret is read from when a request is made."""

    env: str | None = None
    file: str | None = None

    @model_validator(mode="after")
    def _one(self) -> SecretSource:
        if (self.env is None) == (self.file is None):
            raise ValueError('write env = "NAME" of an environment variable, or file = "PATH", one of the two')
        return self


class Request(Part):
    """How a question is put. shape: that inputs are given on the wire, where it isn't their own."""

    kind: Literal["json", "multipart"] = "json"
    input: Literal["list", "png", "npy", "text"] = "list"
    decimals: int | None = Field(default=None, ge=0, le=17)
    shape: tuple[int, ...] | None = None
    body: str = '{"inputs": {inputs}}'
    field: str = "file"
    fields: dict[str, str] = {}

    @property
    def one_by_one(self) -> bool:
        """Does a request carry a single input?"""
        return self.kind == "multipart" or "{input}" in self.body

    @model_validator(mode="after")
    def _sound(self) -> Request:
        if self.kind == "json" and ("{inputs}" in self.body) == ("{input}" in self.body):
            raise ValueError("body has {inputs} (a list of them) or {input} (one a request), one of the two")
        if self.kind == "multipart" and self.input == "list":
            raise ValueError('a multipart request carries input = "png", "npy" or "text"')
        if self.decimals is not None and self.input != "list":
            raise ValueError('decimals are of input = "list"')
        if "{secret}" in " ".join((self.body, *self.fields.values())):
            raise ValueError(
                "{secret} is filled in where it stands in url or headers, not in a body: write a header with it"
            )
        return self


class Answer(Part):
    """Where the answer lies: JMESPaths to rows of scores, to labels, or both (labels then stand in for missing scores)."""

    scores: str | None = None
    label: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _labels(cls, given: Any) -> Any:
        if isinstance(given, dict) and "labels" in given and "label" not in given:
            return {("label" if key == "labels" else key): value for key, value in given.items()}
        return given

    @model_validator(mode="after")
    def _some(self) -> Answer:
        if self.scores is None and self.label is None:
            raise ValueError('write scores = "PATH" or label = "PATH", or both')
        return self


class Limits(Part):
    """What may be spent and how fast. wait: longest seconds before a retry, whatever the server asks for. largest: bytes
    of an answer."""

    concurrency: int = Field(default=8, ge=1, le=1024)
    batch: int = Field(default=1, ge=1)
    rate: float | None = Field(default=None, gt=0)
    examples_per_second: float | None = Field(default=None, gt=0)
    timeout: float = Field(default=30.0, gt=0)
    retries: int = Field(default=5, ge=0)
    wait: float = Field(default=60.0, ge=0)
    failures: int = Field(default=50, ge=1)
    queries: int | None = Field(default=None, ge=1)
    budget: int | None = Field(default=None, ge=1)
    price: float | None = Field(default=None, ge=0)
    currency: str = ""
    largest: int = Field(default=16 * 2**20, ge=1)


class Check(Part):
    """Inputs that are asked again: at the start `times` more, then once after every so many queries."""

    inputs: int = Field(default=4, ge=0)
    times: int = Field(default=2, ge=1)
    every: int = Field(default=1000, ge=1)
    on_change: Literal["stop", "go on"] = "stop"


def _pair(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class Settings(Part):
    """All of it. ca: a file of certificates to trust instead of the system's."""

    url: str
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    headers: dict[str, str] = {}
    names: tuple[str, ...] = ()
    classes: int | None = Field(default=None, ge=2)
    range: Annotated[tuple[float, float] | None, BeforeValidator(_pair)] = None
    ca: str | None = None
    secret: SecretSource | None = None
    request: Request = Request()
    answer: Answer = Answer(scores="scores", label="labels")
    limits: Limits = Limits()
    check: Check = Check()

    @model_validator(mode="after")
    def _sound(self) -> Settings:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f'url is an address such as "https://host/path", got "{parts.scheme}:..."')
        if parts.username or parts.password:
            raise ValueError("url holds a user or a password: write a header with {secret} and a [secret] instead")
        if self.range is not None and not self.range[0] < self.range[1]:
            raise ValueError(f"range is [lowest, highest], got {list(self.range)}")
        if self.names and self.classes not in (None, len(self.names)):
            raise ValueError(f"{len(self.names)} names for {self.classes} classes")
        if len(set(self.names)) < len(self.names):
            raise ValueError("names of classes differ from each other")
        if self.limits.batch > 1 and self.request.one_by_one:
            raise ValueError(f"limits.batch is {self.limits.batch}, but the request carries one input: use {{inputs}}")
        if self.secret is None and "{secret}" in " ".join((self.url, *self.headers.values())):
            raise ValueError('{secret} is used, but there is no [secret]: add one with env = "NAME" or file = "PATH"')
        return self

    @property
    def shown_url(self) -> str:
        """The address without what stands behind a question mark, which may be private."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}{parts.path}"


def read_settings(path: str | Path | None, url: str | None = None) -> Settings:
    """The settings in a file, or those that `robustly serve` understands where there is none.

    url: the address, where the file need not give it.

    Raises:
        UsageError: no such file, no TOML, an unknown key or a value that is none; names the place.
    """
    table: dict[str, Any] = {}
    if path is not None:
        table = _read(Path(path))
    elif url is None:
        raise UsageError("an endpoint has an address: give its settings, a .toml file with url = ..., or the address.")
    own = str(table.get("url", url))
    if url is not None and url not in (own, own.split("?")[0]):
        raise UsageError(
            f"{path} is for another address than the one given: leave url out of it, or name the same one."
        )
    if url is not None:
        table = {"url": url, **table}
    where = str(path) if path is not None else "the endpoint"
    try:
        found = Settings.model_validate(table)
    except ValidationError as error:
        raise UsageError(f"{where}: {_told(error)}.") from None
    return _beside(found, Path(path).parent) if path is not None else found


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the endpoint settings {path}: {error}.") from None


def _beside(found: Settings, folder: Path) -> Settings:
    """Paths in the file are meant from where it lies."""
    changes: dict[str, Any] = {}
    if found.secret is not None and found.secret.file is not None:
        changes["secret"] = SecretSource(file=str(folder / found.secret.file))
    if found.ca is not None:
        changes["ca"] = str(folder / found.ca)
    return found.model_copy(update=changes)


def _told(error: ValidationError) -> str:
    """The first thing wrong, in our words; a value is not repeated, since it may be private."""
    first = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f'unknown key "{place}".{nearest(str(first["loc"][-1]), _keys(first["loc"][:-1]))}'
    told = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        return f"{place} is missing"
    return f"{place}: {told[:1].lower()}{told[1:]}" if place else told


def _keys(place: tuple[int | str, ...]) -> list[str]:
    kinds = {"secret": SecretSource, "request": Request, "answer": Answer, "limits": Limits, "check": Check}
    kind = kinds.get(str(place[0]), Settings) if place else Settings
    return list(kind.model_fields)
