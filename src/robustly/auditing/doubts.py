"""Sentences about what makes a result doubtful, told alike by an audit and by a single attack."""

from __future__ import annotations

RANDOM = "random model"
"""How the sentence of `single_draws` begins."""


def masked(count: int) -> str:
    """No gradient of these examples told anything."""
    return (
        f"masked gradients: every gradient was zero or not finite for {count} example{'s' * (count != 1)}; gradient "
        "attacks were blind there."
    )


def single_draws(name: str) -> str:
    """The attack took one answer of a random model for all it would say."""
    return (
        f"{RANDOM}: the same input got different answers, and {name} followed the gradient of single draws of it; "
        "expected(...) around the attack follows their mean."
    )


def not_finite(count: int) -> str:
    """The model's answer was no number."""
    return (
        f"non-finite outputs: the model answered NaN or infinity for {count} example{'s' * (count != 1)}; that counts "
        "against the model."
    )
