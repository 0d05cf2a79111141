"""The stateful defence at the door: one account for each API key, else for each client address."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor

from robustly.core.rows import Batch
from robustly.defend.guarded import Account, Reply, constant, honest, wrong
from robustly.serving.refusals import Refused
from robustly.serving.settings import Defence

ACCOUNTS = 10_000
"""So many are remembered; the one that was silent for the longest goes first."""

ALTERED: dict[str, Reply] = {"wrong": wrong, "constant": constant}


class Guards:
    """All accounts, and those that are shut out."""

    def __init__(self, defence: Defence) -> None:
        self.defence = defence
        self.accounts: OrderedDict[str, Account] = OrderedDict()
        self.banned: set[str] = set()

    def refuse_banned(self, name: str) -> None:
        """Refuse an account that was shut out."""
        if name in self.banned:
            raise Refused(403, "this account is closed: its queries looked like those of an attack.")

    def look(self, name: str, batch: Batch) -> Tensor:
        """Bool (B,): which of an account's queries are flagged."""
        if not isinstance(batch, Tensor):
            return torch.zeros(len(batch), dtype=torch.bool)
        if name not in self.accounts:
            self.accounts[name] = Account(self.defence.watch())
        self.accounts.move_to_end(name)
        account = self.accounts[name]
        if len(self.accounts) > ACCOUNTS:
            self.accounts.popitem(last=False)
        return account.look(batch)

    def refuse_flagged(self, name: str, flagged: Tensor) -> None:
        """Refuse a request with flagged queries, where that is the reply; a ban lasts."""
        if self.defence.reply not in ("ban", "refuse") or not flagged.any():
            return
        if self.defence.reply == "ban":
            self.banned.add(name)
            self.refuse_banned(name)
        which = ", ".join(map(str, flagged.nonzero().flatten().tolist()[:5]))
        raise Refused(403, f"refused: input {which} looks like a query of an attack.")

    @property
    def reply(self) -> Callable[[Tensor, Tensor], Tensor]:
        """How an answer is changed for flagged queries."""
        return ALTERED.get(self.defence.reply, honest)
