"""Hard budgets: a try is booked, for good, before it is sent; one that no account allows is not sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from robustly.adapters.endpoint.kept import Kept, Send
from robustly.adapters.endpoint.settings import Limits
from robustly.adapters.endpoint.writing import Writer
from robustly.oracle.remote import BUDGET, CAMPAIGN

EXAMPLE = "the query budget of the example ended"


@dataclass
class Question:
    """One input to be asked. owner: the account it is on, "" for nobody's. why: the flag and the sentence, if it stays
    unanswered. sends: how often it was sent, by this process or an earlier one."""

    key: bytes
    fragment: bytes
    owner: str
    said: Any = None
    sends: int = 0
    why: tuple[str, str] | None = None
    heard: bool = False


@dataclass
class Allowance:
    """What one call may spend besides the budgets. left: by owner; held: what the account of an example must keep."""

    left: dict[str, int] = field(default_factory=dict)
    held: int = 0


class Purse:
    """The accounts. All of it runs in one thread, so that looking and booking are one step."""

    def __init__(self, limits: Limits, kept: Kept) -> None:
        self.limits, self.kept = limits, kept
        self.sent = kept.sent
        self.accounts: Counter[str] = Counter(kept.accounts)
        self.tried: Counter[bytes] = Counter(kept.open)
        self.retries = kept.retries

    @property
    def left(self) -> int | None:
        """What the campaign may still send, None for no limit."""
        return None if self.limits.budget is None else max(0, self.limits.budget - self.sent)

    async def pay(self, questions: Sequence[Question], allowance: Allowance, writer: Writer) -> list[Question]:
        """Book one try of each question that the budgets allow, on disk when this returns; the others learn why not."""
        paid = [one for one in questions if self._book(one, allowance)]
        if paid:
            await writer.write(sends=[Send(one.key, one.owner) for one in paid])
        return paid

    def _book(self, one: Question, allowance: Allowance) -> bool:
        denied = self._denied(one.owner, allowance)
        if denied:
            one.why = (BUDGET, denied)
            return False
        self.sent += 1
        self.retries += self.tried[one.key] > 0
        self.tried[one.key] += 1
        self.accounts[one.owner] += 1
        if one.owner in allowance.left:
            allowance.left[one.owner] -= 1
        one.sends = self.tried[one.key]
        return True

    def _denied(self, owner: str, allowance: Allowance) -> str:
        if self.left == 0:
            return CAMPAIGN
        most = self.limits.queries
        if owner and most is not None and self.accounts[owner] + allowance.held >= most:
            return EXAMPLE
        return EXAMPLE if allowance.left.get(owner, 1) <= 0 else ""
