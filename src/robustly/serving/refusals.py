"""A request that is answered with a 4xx: the status and a sentence that says what is wrong and what to send."""

from __future__ import annotations


class Refused(Exception):  # noqa: N818 - it says what happened
    """status: 4xx. The sentence reaches the client."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
