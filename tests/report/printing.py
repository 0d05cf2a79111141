"""What a terminal of some encoding would receive."""

from __future__ import annotations

import io

from rich.console import Console, RenderableType


def printed(renderable: RenderableType, encoding: str = "utf-8", width: int = 200) -> str:
    """The output as text; fails if the encoding cannot hold it."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, write_through=True)
    Console(file=file, width=width, color_system=None).print(renderable)
    return raw.getvalue().decode(encoding)
