"""A deployed model behind HTTP as the target: asked within hard budgets, every answer kept before it is used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustly.core.errors import UsageError

if TYPE_CHECKING:
    from robustly.adapters.endpoint.settings import Settings
    from robustly.oracle.model import Model

NEEDED = ("httpx2", "stamina", "jmespath")


def is_address(word: Any) -> bool:
    """Does a word name an endpoint?"""
    return isinstance(word, str) and word.lower().startswith(("http://", "https://"))


def endpoint(
    source: str | Path | Settings | None = None, *, url: str | None = None, keep: str | Path | None = None
) -> Model:
    """The model behind an address, to audit or attack like any other, with scores or labels as it answers.

    source: settings, or the TOML file they stand in (see `robustly.adapters.endpoint.settings`); None for those that
    `robustly serve` understands. url: the address, where the settings don't give it. keep: a file for the answers, so that
    none is ever paid twice; None keeps them in the folder of the run, or in memory where there is none.

    Nothing is asked yet. Without a budget in the settings, nothing but the plan limits the queries.

    Raises:
        UsageError: settings that make no sense, or a package that is missing.
    """
    _refuse_missing()
    from robustly.adapters.endpoint.asking import Asking
    from robustly.adapters.endpoint.settings import Settings, read_settings
    from robustly.oracle.model import Access, Model
    from robustly.threats.base import Domain

    settings = source if isinstance(source, Settings) else read_settings(source, url)
    asking = Asking(settings, None if keep is None else Path(keep))
    return Model(
        call=asking,
        domain=Domain(*settings.range) if settings.range else Domain(),
        access=Access.LABELS if asking.reader.labels_only else Access.SCORES,
        classes=asking.reader.classes,
        name=settings.shown_url,
        digest=asking.identity,
        labels=settings.names,
        remote=asking,
    )


def _refuse_missing() -> None:
    import importlib.util

    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"an endpoint takes {' and '.join(missing)}: pip install 'robustly[endpoint]'.")
