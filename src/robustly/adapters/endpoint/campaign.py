"""Many questions at once: booked a little ahead, sent side by side, kept as they are answered."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from robustly.adapters.endpoint.answers import Reader
from robustly.adapters.endpoint.faults import Final, Misfit, Passing, Unpaid
from robustly.adapters.endpoint.kept import Kept
from robustly.adapters.endpoint.paying import Allowance, Purse, Question
from robustly.adapters.endpoint.sending import Sender
from robustly.adapters.endpoint.wire import Wire
from robustly.adapters.endpoint.writing import Writer
from robustly.core.errors import UsageError
from robustly.oracle.remote import STOPPED, UNANSWERED

FARTHEST = 64
"""Requests booked ahead at most, where there are fewer senders."""
LABELS_ONLY = "labels only"
"""The fact that an endpoint gives no scores, seen in its first answer."""


class Campaign:
    """All that is ever sent to one endpoint goes through `ask`. ended: why nothing more is sent, once that is so."""

    def __init__(self, sender: Sender, reader: Reader, purse: Purse, kept: Kept, disk: ThreadPoolExecutor) -> None:
        self.sender, self.reader, self.purse, self.kept, self.disk = sender, reader, purse, kept, disk
        self.ended = ""
        reader.heard, reader.hidden = kept.answered > 0, sender.secret.hidden
        reader.labels_only = reader.labels_only or bool(kept.fact(LABELS_ONLY))

    async def ask(self, questions: Sequence[Question], allowance: Allowance, wire: Wire) -> None:
        """Send questions and fill in what is said, or why nothing is. All of it is on disk when this returns.

        Until the endpoint has answered once, a single request is sent, so that what is wrong is paid once.

        Raises:
            UsageError: the endpoint never gave an answer, and does not now.
            RunError: the disk refused.
        """
        writer = Writer(self.kept, self.disk)
        size = self.sender.settings.limits.batch
        groups = [list(questions[start : start + size]) for start in range(0, len(questions), size)]
        call = _Call(self, allowance, wire, writer)
        try:
            while groups and not self.reader.heard and not self.ended:
                await call.first(groups.pop(0))
            await call.rest(groups)
        finally:
            await asyncio.shield(writer.settled())

    def end(self, why: str) -> None:
        """Send nothing from here on."""
        self.ended = self.ended or why


class _Call:
    """One call of `ask`, as it goes."""

    def __init__(self, campaign: Campaign, allowance: Allowance, wire: Wire, writer: Writer) -> None:
        self.campaign, self.allowance, self.wire, self.writer = campaign, allowance, wire, writer
        self._pay = campaign.purse.pay

    async def first(self, group: list[Question]) -> None:
        """The first contact: what fails here is the user's to mend."""
        paid = await self._pay(group, self.allowance, self.writer)
        if not paid:
            return
        try:
            await self._exchange(paid)
        except (Passing, Misfit, Final) as error:
            raise UsageError(
                f"{error}. Nothing was answered yet; the endpoint's settings or the network are wrong."
            ) from None
        await self.writer.settled()
        self.campaign.kept.keep_fact(LABELS_ONLY, self.campaign.reader.labels_only)
        self.campaign.reader.heard = True

    async def rest(self, groups: list[list[Question]]) -> None:
        """Everything else, booked a window ahead of the senders.

        A window is as wide as there are senders, so that a killed process has booked little that it never sent; it grows
        only where they had to wait for the disk.
        """
        width = min(self.campaign.sender.settings.limits.concurrency, len(groups))
        ahead = _Ahead(width)
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(width):
                    tasks.create_task(self._send(ahead))
                start = 0
                while start < len(groups):
                    some = groups[start : start + ahead.window]
                    start += ahead.window
                    ahead.put(await self._booked(some))
                    await ahead.low.wait()
                ahead.put([None] * width)
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None

    async def _booked(self, window: list[list[Question]]) -> list[list[Question]]:
        """The groups with those of their questions that are paid."""
        everyone = [one for group in window for one in group]
        if self.campaign.ended:
            self._leave(everyone)
            return []
        paid = {id(one) for one in await self._pay(everyone, self.allowance, self.writer)}
        able = [[one for one in group if id(one) in paid] for group in window]
        return [group for group in able if group]

    async def _send(self, ahead: _Ahead) -> None:
        while (group := await ahead.get()) is not None:
            if self.campaign.ended:
                self._leave(group)
                continue
            try:
                await self._exchange(group)
            except (Passing, Misfit) as error:
                _unheard(group, UNANSWERED, str(error))
            except Final as error:
                self.campaign.end(str(error))
                self._leave(group)

    async def _exchange(self, group: list[Question]) -> None:
        """Send a request until it is answered; those whose accounts allow no further try drop out of it."""
        campaign, now = self.campaign, list(group)

        async def once(number: int) -> None:
            nonlocal now
            if number > 1:
                now = await self._pay(now, self.allowance, self.writer)
                if not now:
                    raise Unpaid
            await campaign.sender.pace.depart(len(now))
            if campaign.ended:
                raise Unpaid
            body, kind = self.wire.body([one.fragment for one in now])
            rows = campaign.reader.rows(await campaign.sender.post(body, kind), len(now))
            if not campaign.reader.heard:
                campaign.reader.read(rows)  # the first answer must make sense as a whole
            for one, said in zip(now, rows, strict=True):
                one.said, one.heard, one.why = said, True, None

        try:
            await campaign.sender.tries(once)
        except Unpaid:
            self._leave([one for one in now if one.why is None])
            return
        self.writer.write(answers=[(one.key, one.said, one.sends) for one in now])
        campaign.sender.count(campaign.reader.complaint([one.said for one in now]))

    def _leave(self, questions: Sequence[Question]) -> None:
        _unheard(questions, STOPPED, self.campaign.ended)


class _Ahead:
    """Groups that are booked and not yet sent. low: no more than a window of them is left. window: groups to book next."""

    def __init__(self, width: int) -> None:
        self.window = max(width, 1)
        self.low = asyncio.Event()
        self._groups: asyncio.Queue[list[Question] | None] = asyncio.Queue()
        self._begun = False

    def put(self, groups: Sequence[list[Question] | None]) -> None:
        """Add groups; where none was left, the next window is wider."""
        if self._begun and self._groups.empty():
            self.window = min(2 * self.window, max(FARTHEST, self.window))
        self._begun = True
        for group in groups:
            self._groups.put_nowait(group)
        self._look()

    async def get(self) -> list[Question] | None:
        """The next group; None at the end."""
        group = await self._groups.get()
        self._look()
        return group

    def _look(self) -> None:
        if self._groups.qsize() <= self.window // 2:
            self.low.set()
        else:
            self.low.clear()


def _unheard(questions: Sequence[Question], flag: str, why: str) -> None:
    for one in questions:
        if not one.heard and one.why is None:
            one.why = (flag, why)
