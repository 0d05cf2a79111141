"""The file that tells a client how to ask a server of ours: `robustly audit URL DATA --endpoint endpoint.toml`."""

from __future__ import annotations

import json
import math
from pathlib import Path

from robustly.core.points import write_atomically
from robustly.oracle.model import Access
from robustly.serving.settings import Serving


def endpoint_text(serving: Serving, url: str, token_env: str | None = None) -> str:
    """The file's text: address, format and answer; which environment variable has the token, never the token."""
    model = serving.model
    labels = serving.label_only or model.access is Access.LABELS
    low, high = model.domain.low, model.domain.high
    lines = [f"url = {_quoted(f'{url}/predict')}"]
    if token_env is not None:
        lines.append('headers = { Authorization = "Bearer {secret}" }')
    if model.labels:
        lines.append(f"names = [{', '.join(map(_quoted, model.labels))}]")
    elif model.classes is not None:
        lines.append(f"classes = {model.classes}")
    if not serving.text and math.isfinite(low) and math.isfinite(high):
        lines.append(f"range = [{low!r}, {high!r}]")
    if token_env is not None:
        lines += ["", "[secret]", f"env = {_quoted(token_env)}"]
    lines += ["", "[request]", f'input = "{"text" if serving.text else "npy"}"', "body = '{\"inputs\": {inputs}}'"]
    lines += ["", "[answer]", *([] if labels else ['scores = "scores"']), 'label = "labels"']
    lines += ["", "[limits]", "concurrency = 8", f"batch = {min(16, serving.examples)}", "timeout = 30", "retries = 5"]
    return "\n".join(lines) + "\n"


def write_endpoint(path: Path, serving: Serving, url: str, token_env: str | None = None) -> None:
    """Write that file, whole or not at all.

    Raises:
        RunError: the disk refused.
    """
    write_atomically(path, endpoint_text(serving, url, token_env).encode())


def _quoted(text: str) -> str:
    """A basic string of TOML: what JSON escapes, and DEL, which TOML wants escaped too."""
    plain = text.encode("utf-8", "replace").decode()
    return json.dumps(plain, ensure_ascii=False).replace("\x7f", "\\u007f")
