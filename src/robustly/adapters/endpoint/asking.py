"""The door to an endpoint: what the oracle, the clean pass and the judge ask through."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from robustly.adapters.endpoint.answers import Reader
from robustly.adapters.endpoint.background import Background
from robustly.adapters.endpoint.campaign import Campaign
from robustly.adapters.endpoint.drift import differs, has_changed
from robustly.adapters.endpoint.faults import Final, Misfit
from robustly.adapters.endpoint.kept import Kept
from robustly.adapters.endpoint.paying import EXAMPLE, Allowance, Purse, Question
from robustly.adapters.endpoint.secret import identity, read_secret
from robustly.adapters.endpoint.sending import Sender
from robustly.adapters.endpoint.settings import Settings
from robustly.adapters.endpoint.wire import Wire, key_of
from robustly.core.errors import RunError, UsageError
from robustly.core.rows import Batch
from robustly.oracle.remote import BUDGET, CAMPAIGN, NOBODY, UNANSWERED, Replies
from robustly.threats.base import Domain, PerturbationSet

FEWEST = 2
"""Inputs that are asked first, at least: one answer alone would not show the shape of many."""


@dataclass(frozen=True)
class Bill:
    """What was spent: queries sent, of which retries and checks for change; those served from the store; what is left of
    the budget; the price of it all, where one is known."""

    sent: int
    retries: int
    checks: int
    cached: int
    left: int | None
    spend: float | None
    currency: str


@dataclass(frozen=True)
class First:
    """The first answers, to a few inputs. random: asked again, it answered otherwise. spent: queries, int64 a row."""

    answers: Tensor
    random: bool
    spent: Tensor
    checks: int


class Asking:
    """The one that asks an endpoint; see `robustly.oracle.remote.Remote`. watch: called while waiting; may raise."""

    def __init__(self, settings: Settings, keep: Path | None = None) -> None:
        self.settings, self.keep = settings, keep
        self.identity = identity(settings)
        self.reader = Reader(settings)
        self.random: bool | None = None
        self.changed = ""
        self.watch: Callable[[], None] | None = None
        self._wire = Wire(settings, Domain(*settings.range) if settings.range else Domain())
        self._envelope = self._wire.envelope()
        self._accounts: Sequence[str] = ()
        self._scope, self._asked = "", Counter[bytes]()
        self._cached = 0
        self._start: tuple[list[bytes], Tensor] | None = None
        self._checked_at = 0
        self._resumed = False  # a campaign that goes on looks before it sends anything
        self._open: tuple[Campaign, Background, Kept] | None = None
        self._finish: weakref.finalize[..., Asking] | None = None

    # how it is set up

    def store_in(self, path: Path) -> None:
        """Keep the answers in a file from now on, unless one was named when this was made.

        Raises:
            UsageError: something was asked already.
        """
        if self.keep is None and self._open is not None:
            raise UsageError(
                "the endpoint was asked before the run, and its answers lie in memory: make it with keep=FILE, or anew."
            )
        self.keep = self.keep or path

    def prepare(self, domain: Domain, accounts: Sequence[str] = (), names: Sequence[str] = ()) -> None:
        """Say what is going to be asked. domain: of the inputs. accounts: a content hash for each example number, so that
        a file of answers serves several data. names: of the classes, where the settings give none."""
        if self.settings.range is None:
            self._wire = Wire(self.settings, domain)
        self._accounts = accounts
        self.reader.names = self.reader.names or tuple(names)

    def begin(self, scope: str) -> None:
        self._scope, self._asked = scope, Counter()

    @property
    def wire(self) -> Wire:
        """How inputs are written."""
        return self._wire

    # asking

    def ask(self, z: Batch, owners: Tensor, left: Tensor | None = None, held: int = 0) -> Replies:
        """See `Remote`.

        Raises:
            UsageError: the endpoint never gave an answer that makes sense, and does not now.
            RunError: the disk refused.
        """
        fragments = self._wire.fragments(z)
        keys = [self._key(fragment) for fragment in fragments]
        accounts = [self._account(i) for i in owners.tolist()]
        allowance = Allowance(held=held)
        if left is not None:
            allowance.left = dict(zip(accounts, left.tolist(), strict=True))
        said = self._answered(keys, fragments, accounts, allowance)
        return self._replies([said[key] for key in keys])

    def __call__(self, z: Batch) -> Tensor:
        """Scores (B, K) or labels (B,), on nobody's account.

        Raises:
            RunError: a row got no answer.
        """
        replies = self.ask(z, torch.full((len(z),), NOBODY))
        for row, (_, why) in replies.why.items():
            raise RunError(f"the endpoint left {len(replies.why)} of {len(z)} inputs unanswered; input {row}: {why}.")
        return replies.answers

    def carried(self, z: Batch, around: PerturbationSet | None = None) -> Batch:
        return self._wire.carried(z, around)

    def named(self, answers: Tensor) -> Tensor:
        if answers.dim() == 1:
            return answers
        best = answers.topk(2, dim=1).values
        clear = torch.isfinite(answers).all(1) & (best[:, 0] > best[:, 1])
        return torch.where(clear, answers.argmax(1), -1)

    # looking whether it answers the same

    def settle(self, x: Batch, owners: Tensor) -> First:
        """Ask a few inputs on their accounts, then again on nobody's: is the target random? Later checks ask them too.

        Raises:
            UsageError: no answer, one that makes no sense, or a budget too small for it.
        """
        check = self.settings.check
        campaign, _, kept = self._opened()
        few = x[: max(check.inputs, FEWEST)]
        need = len(few) * (1 + check.times * (check.inputs > 0)) + 1
        most = self.settings.limits.budget
        if most is not None and most < need:
            raise UsageError(
                f"a budget of {most} queries is too small for one step: looking whether the target answers the same takes "
                f"{need - 1} (check.inputs and check.times), and an attack at least one more. Give limits.budget = {need} or more."
            )
        if self.settings.limits.queries == 1:
            raise UsageError(
                "a budget of 1 query an example is too small for one step: the unperturbed input takes it. Give "
                "limits.queries = 2 or more."
            )
        self.random = None
        before = kept.answered > 0
        fragments = self._wire.fragments(few)
        keys = [key_of(self._envelope, f) for f in fragments]
        accounts = [self._account(i) for i in owners[: len(few)].tolist()]
        asked = self._answered(keys, fragments, accounts, Allowance())
        first = self._replies([asked[key] for key in keys])
        self._refuse_unheard(first)
        answers = [first.answers]
        for turn in range(check.times if check.inputs else 0):
            again = self._again(fragments, f"start {turn}")
            self._refuse_unheard(again)
            answers.append(again.answers)
        self.random = any(differs(answers[0], one) for one in answers[1:])
        self._start = (fragments, torch.stack(answers)) if check.inputs else None
        self._checked_at, self._resumed = campaign.purse.sent, before
        self.changed = kept.fact("changed") or ""
        if self.changed and check.on_change == "stop":
            campaign.end(self.changed)
        return First(first.answers, self.random, first.spent, len(few) * (len(answers) - 1))

    def _check_if_due(self, campaign: Campaign) -> None:
        if self._resumed or campaign.purse.sent - self._checked_at >= self.settings.check.every:
            self._checked_at -= self._resumed
            self._resumed = False
            self.check()

    def check(self) -> None:
        """Ask the first inputs again, if anything was sent since they were last asked, and see whether the answers are the
        same. Where they are not, and unless the settings say to go on, nothing more is sent."""
        if self._start is None or self._open is None or self.changed:
            return
        campaign, _, kept = self._open
        fragments, start = self._start
        left = campaign.purse.left
        if campaign.purse.sent == self._checked_at or campaign.ended or (left is not None and left < len(fragments)):
            return
        self._checked_at = campaign.purse.sent  # here, so that the check does not set off another
        number = (kept.fact("checks") or 0) + 1
        replies = self._again(fragments, f"check {number}")
        kept.keep_fact("checks", number)
        self._checked_at = campaign.purse.sent
        if replies.why or not has_changed(start, replies.answers):
            return
        self.changed = (
            f"the target changed: after {campaign.purse.sent} queries it answers inputs otherwise than at the start"
        )
        kept.keep_fact("changed", self.changed)
        if self.settings.check.on_change == "stop":
            campaign.end(self.changed)

    # what it came to

    @property
    def ended(self) -> str:
        """Why nothing more is sent; "" while questions still are."""
        if self._open is None:
            return ""
        campaign = self._open[0]
        return campaign.ended or (CAMPAIGN if campaign.purse.left == 0 else "")

    @property
    def bill(self) -> Bill:
        """What was spent so far, by earlier processes too."""
        campaign, _, _ = self._opened()
        purse, price = campaign.purse, self.settings.limits.price
        spend = None if price is None else price * purse.sent
        checks = purse.accounts[""]
        return Bill(purse.sent, purse.retries, checks, self._cached, purse.left, spend, self.settings.limits.currency)

    def spent_on(self, owner: int) -> int:
        """Queries sent on the account of an example."""
        return self._opened()[0].purse.accounts[self._account(owner)]

    def close(self) -> None:
        """Close the connections and the file; another question opens them again."""
        if self._finish is not None:
            self._open = None
            self._finish()

    # underneath

    def _opened(self) -> tuple[Campaign, Background, Kept]:
        if self._open is None:
            secret = read_secret(self.settings)
            kept = Kept(self.keep)
            try:
                kept.belong(self.identity, self.settings.shown_url)
                sender = Sender(self.settings, secret)
            except Final as error:
                kept.close()
                raise UsageError(f"{error}.") from None
            except BaseException:
                kept.close()
                raise
            disk, background = ThreadPoolExecutor(1, "robustly answers"), Background()
            campaign = Campaign(sender, self.reader, Purse(self.settings.limits, kept), kept, disk)
            self._open = (campaign, background, kept)
            self._finish = weakref.finalize(self, _closed, campaign, background, kept)
        return self._open

    def _account(self, owner: int) -> str:
        if owner < 0:
            return ""
        return self._accounts[owner] if owner < len(self._accounts) else f"#{owner}"

    def _key(self, fragment: bytes) -> bytes:
        plain = key_of(self._envelope, fragment)
        if self.random is False:
            return plain
        self._asked[plain] += 1
        return key_of(self._envelope, fragment, f"{self._scope} {self._asked[plain]}")

    def _again(self, fragments: list[bytes], draw: str) -> Replies:
        """Ask on nobody's account, whatever was answered before."""
        keys = [key_of(self._envelope, fragment, draw) for fragment in fragments]
        asked = self._answered(keys, fragments, [""] * len(keys), Allowance(), checking=True)
        return self._replies([asked[key] for key in keys])

    def _answered(
        self,
        keys: Sequence[bytes],
        fragments: Sequence[bytes],
        accounts: Sequence[str],
        allowance: Allowance,
        checking: bool = False,
    ) -> dict[bytes, Question]:
        """Every key with what was said of it: from the store, or asked now on the first of its accounts that can pay."""
        campaign, background, kept = self._opened()
        found = kept.known(list(dict.fromkeys(keys)))
        out = {k: Question(k, b"", "", said, sends, None, True) for k, (said, sends) in found.items()}
        self._cached += sum(key in found for key in keys)
        rows = [row for row, key in enumerate(keys) if key not in found]
        if rows and not checking:
            self._check_if_due(campaign)
        while rows:
            first = {keys[row]: row for row in reversed(rows)}  # the first of each
            due = [
                Question(key, fragments[row], accounts[row]) for key, row in sorted(first.items(), key=lambda i: i[1])
            ]
            background.run(campaign.ask(due, allowance, self._wire), self.watch)
            out.update((one.key, one) for one in due)
            tried = set(first.values())
            rows = [row for row in rows if row not in tried and self._denied(out[keys[row]], accounts[row])]
        return out

    def _denied(self, one: Question, account: str) -> bool:
        """Was a question not asked because the example it was on could not pay, so that another might?"""
        return one.why == (BUDGET, EXAMPLE) and one.sends == 0 and one.owner != account

    def _replies(self, questions: Sequence[Question]) -> Replies:
        heard: dict[int, list[float] | int] = {}
        why: dict[int, tuple[str, str]] = {}
        for row, one in enumerate(questions):
            if not one.heard:
                why[row] = one.why or (UNANSWERED, "the campaign was interrupted")
                continue
            try:
                heard[row] = self.reader.one(one.said)
            except Misfit as error:
                why[row] = (UNANSWERED, str(error))
        spent = torch.tensor([one.sends for one in questions], dtype=torch.int64)
        answered = torch.tensor([row in heard for row in range(len(questions))], dtype=torch.bool)
        if self.reader.labels_only:
            answers = torch.full((len(questions),), -1, dtype=torch.int64)
        else:
            answers = torch.zeros(len(questions), self.reader.classes or 2)
        if heard:
            answers[torch.tensor(list(heard))] = self.reader.tensor(list(heard.values()))
        return Replies(answers, answered, spent, why)

    def _refuse_unheard(self, replies: Replies) -> None:
        for _, why in replies.why.values():
            raise UsageError(f"the endpoint was asked a few inputs, and not all got an answer: {why}.")


def _closed(campaign: Campaign, background: Background, kept: Kept) -> None:
    """Close all that a campaign holds; also where nobody says so."""
    try:
        background.run(campaign.sender.client.aclose())
    finally:
        background.close()
        campaign.disk.shutdown()
        kept.close()
