"""The application: POST /predict, GET /health, GET /count."""

from __future__ import annotations

import asyncio
import hmac
import json
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from torch import Tensor

from robustly.adapters.outputs import labels_of
from robustly.core.errors import RobustlyError
from robustly.core.rows import Batch
from robustly.oracle.model import Access
from robustly.serving.broken import Dropped, Half, Lines, garbled
from robustly.serving.counts import Counts, digests_of
from robustly.serving.faults import UNASKED
from robustly.serving.formats import LIKE, read_files, read_json
from robustly.serving.guards import Guards
from robustly.serving.refusals import Refused
from robustly.serving.settings import Serving


class Served:
    """A model at work: what it is asked runs in one thread, a request after the other, each as one batch."""

    def __init__(self, serving: Serving, lines: Lines) -> None:
        self.serving = serving
        self.lines = lines
        self.counts = Counts()
        self.guards = None if serving.defence is None else Guards(serving.defence)
        # PyTorch counts its threads for each thread anew, and the last bits of a sum depend on how many there are
        threads = torch.get_num_threads()
        self.thread = ThreadPoolExecutor(1, "model", torch.set_num_threads, (threads,))

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/predict", self.predict, methods=["POST"]),
                Route("/health", self.health),
                Route("/count", self.count),
            ]
        )

    async def health(self, request: Request) -> Response:
        """What is served; needs no token."""
        model, serving = self.serving.model, self.serving
        ends = [None if math.isinf(end) else end for end in (model.domain.low, model.domain.high)]
        known = {
            "model": model.name,
            "digest": model.digest,
            "classes": model.classes,
            "names": list(model.labels) or None,
            "inputs": "texts" if serving.text else "numbers",
            "shape": None if serving.shape is None else list(serving.shape),
            "range": None if serving.text else ends,
            "answers": "labels" if self.label_only else "scores",
        }
        return JSONResponse(known)

    async def count(self, request: Request) -> Response:
        """What has come and gone: see `Counts.as_dict`; ?each=1 adds every input."""
        try:
            self._refuse_strangers(request)
        except Refused as refused:
            return _refusal(refused)
        each = request.query_params.get("each", "0") not in ("0", "")
        return JSONResponse(self.counts.as_dict(each))

    async def predict(self, request: Request) -> Response:
        """Scores and labels of the inputs, or what went wrong."""
        self.counts.enter()
        try:
            return await self._answered(request)
        except Refused as refused:
            self.counts.refusals[str(refused.status)] += 1
            return _refusal(refused)
        except ClientDisconnect:
            return Response(status_code=400)  # which nobody reads any more
        except Exception as error:  # the model's; our own would look the same to a client, so both are said
            self.counts.errors += 1
            said = str(error) if isinstance(error, RobustlyError) else f"{type(error).__name__}: {error}"
            return JSONResponse({"error": said[:1000]}, 500)
        finally:
            self.counts.open -= 1

    @property
    def label_only(self) -> bool:
        """Are labels all that is told?"""
        return self.serving.label_only or self.serving.model.access is Access.LABELS

    async def _answered(self, request: Request) -> Response:
        self._refuse_strangers(request)
        batch = await _read(request, self.serving)
        digests = digests_of(batch)
        arrival = self.counts.arrive(digests)
        account = _account(request)
        if self.guards is not None:
            self.guards.refuse_banned(account)
        if self.serving.latency:
            await asyncio.sleep(self.serving.latency)
        fault = self.serving.faults.of(digests, arrival)
        if fault is not None:
            self.counts.faults[fault] += 1
        if fault in UNASKED:
            headers = self.serving.faults.headers(fault)
            return JSONResponse({"error": "a fault, on purpose"}, int(fault), headers)
        body = await asyncio.get_running_loop().run_in_executor(self.thread, self._asked, batch, account)
        if fault == "drop":
            return Dropped(self.lines)
        if fault == "half":
            return Half(body, self.lines)
        if fault == "malformed":
            return Response(garbled(body), media_type="application/json")
        if fault == "slow":
            await asyncio.sleep(self.serving.faults.seconds)
        if self.lines.alive(request.scope):
            self.counts.told(digests)
        return Response(body, media_type="application/json")

    def _asked(self, batch: Batch, account: str) -> bytes:
        """The answer as JSON; runs in the model's thread, which also keeps what the defence remembers."""
        flagged = torch.zeros(len(batch), dtype=torch.bool)
        if self.guards is not None:
            flagged = self.guards.look(account, batch)
            self.counts.detections += int(flagged.sum())
            self.counts.accounts = len(self.guards.accounts)
            self.guards.refuse_flagged(account, flagged)
        model = self.serving.model
        x = batch.to(model.device) if isinstance(batch, Tensor) else batch
        answer = model.ask_all(x).cpu()
        if self.guards is not None:
            answer = self.guards.reply(answer, flagged)
        return json.dumps(self._told(answer), allow_nan=False, separators=(",", ":")).encode()

    def _told(self, answer: Tensor) -> dict[str, Any]:
        labels, names = labels_of(answer, len(answer)).tolist(), self.serving.model.labels
        out: dict[str, Any] = {} if self.label_only else {"scores": _printed(answer, self.serving.decimals)}
        out["labels"] = labels
        if names:
            out["names"] = [names[label] if 0 <= label < len(names) else None for label in labels]
        return out

    def _refuse_strangers(self, request: Request) -> None:
        if self.serving.token is None:
            return
        given = request.headers.get("authorization", "")
        wanted = f"Bearer {self.serving.token}"
        if not given:
            raise Refused(401, "a token is wanted: send the header Authorization: Bearer TOKEN.")
        if not hmac.compare_digest(given.encode(), wanted.encode()):
            raise Refused(401, "this is not the token. Send the header Authorization: Bearer TOKEN.")


async def _read(request: Request, serving: Serving) -> Batch:
    sort = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if sort not in ("application/json", "multipart/form-data"):
        raise Refused(415, f'the content type "{sort[:60]}" is not taken. Send JSON, {LIKE}, or multipart/form-data.')
    body = await _body(request, serving.bytes)
    if sort == "application/json":
        return read_json(body, serving)
    return read_files(await _files(request, body, serving), serving)


async def _body(request: Request, most: int) -> bytes:
    announced = request.headers.get("content-length", "0")
    body = bytearray()
    if announced.isdecimal() and int(announced) <= most:
        async for part in request.stream():
            body += part
            if len(body) > most:
                break
        else:
            return bytes(body)
    raise Refused(413, f"the body is larger than {most} bytes. Send fewer inputs at once.")


async def _files(request: Request, body: bytes, serving: Serving) -> list[tuple[str, bytes]]:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    try:
        async with Request(request.scope, receive).form(max_files=serving.examples + 1, max_fields=8) as form:
            found = [(file.filename or name, file) for name, file in form.multi_items() if isinstance(file, UploadFile)]
            return [(name, await file.read()) for name, file in found]
    except HTTPException as error:  # starlette says so of a MultiPartException within an application
        raise Refused(400, f"the multipart body can't be read ({error.detail[:120]}).") from None


def _printed(scores: Tensor, decimals: int | None) -> list[list[float | None]]:
    """Numbers as JSON can have them: null where a score is not finite."""
    return [
        [(s if decimals is None else round(s, decimals)) if math.isfinite(s) else None for s in row]
        for row in scores.tolist()
    ]


def _account(request: Request) -> str:
    """Who asks: the API key, else the authorization, else the address."""
    key = request.headers.get("x-api-key") or request.headers.get("authorization")
    return key or (request.client.host if request.client else "")


def _refusal(refused: Refused) -> Response:
    headers = {"www-authenticate": "Bearer"} if refused.status == 401 else None
    return JSONResponse({"error": refused.sentence}, refused.status, headers)
