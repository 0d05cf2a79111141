"""Options that several commands share, with their help."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from cyclopts import Group, Parameter

from robustly.cli.terminal import Terminal

WHAT = Group("What", sort_key=1)
HOW = Group("How hard", sort_key=2)
MODEL = Group("About the model and its inputs", sort_key=3)
OUTPUT = Group("Output", sort_key=4)

Here: TypeAlias = Annotated[Terminal, Parameter(parse=False)]

Model: TypeAlias = Annotated[
    str,
    Parameter(
        group=WHAT,
        help="zoo:NAME, file.py:function, a TorchScript (.pt), torch.export (.pt2) or ONNX (.onnx) file, "
        "or the address of a deployed model, https://...",
    ),
]
Data: TypeAlias = Annotated[
    str,
    Parameter(
        group=WHAT,
        help="zoo:NAME, an .npz or .safetensors file with x and y, a .tsv, .csv or .jsonl file of texts and labels, "
        "a folder of images in class folders, or a folder that datasets saved.",
    ),
]
Threat: TypeAlias = Annotated[
    str,
    Parameter(
        group=WHAT,
        help="What the attacker may change, in input units: linf:8/255, l2:0.5, l1:12, l0:10, linf:8/255@8bit, "
        "linf:8/255&l2:1, edits:2, rotate:30,shift:3, corrupt:3, flow:1, colour:5, ssim:0.1, patch:5.",
    ),
]
Set: TypeAlias = Annotated[
    list[str],
    Parameter(
        name="--set",
        group=HOW,
        negative="",
        show_default=False,
        help='An argument of the attack, say steps=20, loss=margin or views=["di","si"]; give it once for each.',
    ),
]
Limit: TypeAlias = Annotated[int | None, Parameter(group=HOW, help="Only the first so many examples.")]
Seed: TypeAlias = Annotated[int, Parameter(group=HOW, help="The same seed gives the same verdicts, in any batch size.")]
Device: TypeAlias = Annotated[str, Parameter(group=MODEL, help="cpu, cuda, cuda:1 or mps.")]
Range: TypeAlias = Annotated[
    str | None,
    Parameter(
        name="--range",
        group=MODEL,
        allow_leading_hyphen=True,
        help="Lowest and highest input value, say 0,1; detected and shown if left out.",
    ),
]
Layout: TypeAlias = Annotated[
    str | None,
    Parameter(group=MODEL, help="Where the channels of images are, chw or hwc; told by their shape if left out."),
]
Access: TypeAlias = Annotated[
    str | None,
    Parameter(group=MODEL, help="Grant the attacker no more than gradients, scores or labels."),
]
Weights: TypeAlias = Annotated[
    str | None,
    Parameter(group=MODEL, help="A .safetensors file (or a .pt without code) for what file.py:function makes."),
]
TrustPickle: TypeAlias = Annotated[
    bool,
    Parameter(
        group=MODEL, negative="", show_default=False, help="Run code from model files that need it. Only your own."
    ),
]
Classes: TypeAlias = Annotated[
    str | None,
    Parameter(
        group=MODEL,
        help="Number of classes, if it can't be detected, or their names in the order of the scores: cat,dog.",
    ),
]
Quiet: TypeAlias = Annotated[
    bool,
    Parameter(name=["--quiet", "-q"], group=OUTPUT, negative="", show_default=False, help="Only the final lines."),
]
Verbose: TypeAlias = Annotated[
    bool,
    Parameter(
        name=["--verbose", "-v"],
        group=OUTPUT,
        negative="",
        show_default=False,
        help="More detail; the traceback of an error.",
    ),
]
Run: TypeAlias = Annotated[str, Parameter(help="A run folder, or its record.json.")]
