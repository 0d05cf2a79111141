"""All commands under one name. Importing this imports no torch: a command loads what it needs when it runs."""

from __future__ import annotations

from importlib import metadata

from cyclopts import App

from robustly.cli.attack import attack
from robustly.cli.audit import audit
from robustly.cli.compare import compare
from robustly.cli.listing import listing
from robustly.cli.plan import plan
from robustly.cli.replay import replay
from robustly.cli.report import report
from robustly.cli.serve import serve
from robustly.cli.show import show
from robustly.cli.transfer import transfer
from robustly.cli.verify import verify

EXAMPLES = {
    audit: (
        "zoo:fashion_adversarial zoo:fashion --threat linf:0.1",
        "zoo:fashion_plain zoo:fashion --threat l2:1 --fail-under 0.4",
        "net.py:build test.npz --weights net.safetensors --threat l2:0.5",
        "reader.py:build reviews.tsv --threat edits:2",
    ),
    attack: (
        "pgd zoo:fashion_adversarial zoo:fashion --threat linf:0.1",
        "pgd zoo:fashion_plain zoo:fashion --threat l2:1 --set steps=20",
        "fmn zoo:fashion_plain zoo:fashion --threat linf:inf --limit 20",
        "universal zoo:fashion_plain zoo:fashion --threat linf:0.1",
    ),
    transfer: ("zoo:fashion_plain zoo:fashion_adversarial zoo:fashion \\\n    --threat linf:0.1 --attack difgsm",),
    plan: ("zoo:fashion_plain zoo:fashion --threat linf:0.1 --plan standard",),
    report: ("runs/fashion_adversarial-fashion-linf-0.1",),
    show: (
        "runs/fashion_adversarial-fashion-linf-0.1",
        "runs/fashion_adversarial-fashion-linf-0.1 --example 7",
    ),
    compare: ("runs/fashion_plain-fashion-linf-0.1 \\\n    runs/fashion_adversarial-fashion-linf-0.1",),
    replay: ("runs/fashion_adversarial-fashion-linf-0.1 7",),
    serve: (
        "zoo:fashion_adversarial",
        "zoo:fashion_plain --label-only --write-endpoint endpoint.toml",
        "net.py:build --data test.npz --stateful-defence",
    ),
    verify: ("net.onnx property.vnnlib --timeout 60s", "instances.csv --out results.csv"),
    listing: ("attacks", "zoo"),
}
"""Of each command, what may follow its name. Run folders are those that the first example of audit makes."""

NAMES = {
    audit: "audit",
    attack: "attack",
    transfer: "transfer",
    plan: "plan",
    report: "report",
    show: "show",
    compare: "compare",
    replay: "replay",
    serve: "serve",
    verify: "verify",
    listing: "list",
}

app = App(
    name="robustly",
    help=(
        "Attack, audit and certify machine-learning models: a verdict for every example.\n\n"
        "Start with:  robustly audit zoo:fashion_adversarial zoo:fashion --threat linf:0.1"
    ),
    help_epilogue=(
        "Exit codes: 0 passed, 1 gate failed, 2 wrong usage, 3 run error,\n"
        "4 inconclusive or partial, 130 and 143 stopped by a signal.\n"
        "Each command explains itself with an example: robustly audit --help"
    ),
    help_format="plaintext",
    version=lambda: metadata.version("robustly"),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)

for _command, _name in NAMES.items():
    _examples = "\n".join(f"  robustly {_name} {words}" for words in EXAMPLES[_command])
    app.command(_command, name=_name, help_epilogue=f"Examples:\n{_examples}")
