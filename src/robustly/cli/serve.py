"""robustly serve: a model behind HTTP, to practise on and to test with."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

from robustly.cli import options, values

if TYPE_CHECKING:
    from robustly.adapters.data import Data
    from robustly.oracle.model import Model
    from robustly.serving.settings import Defence, Serving

WHERE = Group("Where", sort_key=2)
TOLD = Group("What it tells", sort_key=3.2)
FAULTS = Group("Faults, as shares of the requests", sort_key=3.3)
DEFENCE = Group("Defence", sort_key=3.4)


def serve(
    model: options.Model,
    /,
    *,
    host: Annotated[str, Parameter(group=WHERE, help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, Parameter(group=WHERE, help="0 takes a free one.")] = 8000,
    public: Annotated[
        bool,
        Parameter(group=WHERE, negative="", show_default=False, help="Allow a host that other machines can reach."),
    ] = False,
    token_env: Annotated[
        str | None,
        Parameter(group=WHERE, help="The environment variable with the bearer token that requests must carry."),
    ] = None,
    write_endpoint: Annotated[
        str | None,
        Parameter(group=WHERE, help="Write a file that tells a client how to ask this server: endpoint.toml."),
    ] = None,
    most_bytes: Annotated[int, Parameter(group=WHERE, help="The largest body that is taken.")] = 32 * 2**20,
    most_examples: Annotated[int, Parameter(group=WHERE, help="The most inputs in one request.")] = 1024,
    data: Annotated[
        str | None,
        Parameter(
            group=options.MODEL,
            help="Clean data, for the shape and range of inputs and for the defence; zoo models know theirs.",
        ),
    ] = None,
    text: Annotated[
        bool, Parameter(group=options.MODEL, negative="", show_default=False, help="Inputs are texts.")
    ] = False,
    device: options.Device = "cpu",
    range_: options.Range = None,
    weights: options.Weights = None,
    trust_pickle: options.TrustPickle = False,
    classes: options.Classes = None,
    label_only: Annotated[
        bool, Parameter(group=TOLD, negative="", show_default=False, help="Tell labels, no scores.")
    ] = False,
    decimals: Annotated[int | None, Parameter(group=TOLD, help="Round scores to so many decimals.")] = None,
    latency: Annotated[float, Parameter(group=TOLD, help="Seconds that every answer takes at least.")] = 0.0,
    fail_rate: Annotated[float, Parameter(group=FAULTS, help="500, 502 or 503.")] = 0.0,
    busy_rate: Annotated[float, Parameter(name="--429-rate", group=FAULTS, help="429 with Retry-After.")] = 0.0,
    drop_rate: Annotated[float, Parameter(group=FAULTS, help="The connection is dropped instead of an answer.")] = 0.0,
    slow_rate: Annotated[float, Parameter(group=FAULTS, help="The answer takes --slow seconds longer.")] = 0.0,
    half_rate: Annotated[float, Parameter(group=FAULTS, help="The connection ends in the middle of the body.")] = 0.0,
    malformed_rate: Annotated[float, Parameter(group=FAULTS, help="A 200 whose body is no JSON.")] = 0.0,
    slow: Annotated[float, Parameter(group=FAULTS, help="Seconds.")] = 5.0,
    retry_after: Annotated[
        str,
        Parameter(
            group=FAULTS,
            allow_leading_hyphen=True,
            help='What a 429 says: seconds, "date" for an HTTP date, or any words.',
        ),
    ] = "1",
    seed: Annotated[int, Parameter(group=FAULTS, help="The same requests meet the same faults.")] = 0,
    stateful_defence: Annotated[
        bool,
        Parameter(
            group=DEFENCE,
            negative="",
            show_default=False,
            help="Detect sequences of queries, for each API key or address.",
        ),
    ] = False,
    detector: Annotated[
        str,
        Parameter(group=DEFENCE, help="nearest past queries, those in a learnt space (similarity), or fingerprints."),
    ] = "nearest",
    on_detection: Annotated[
        str, Parameter(group=DEFENCE, help="ban the account, refuse the request, a wrong or constant answer, nothing.")
    ] = "ban",
    verbose: options.Verbose = False,
    here: options.Here,
) -> int:
    """Serve a model over HTTP, to practise attacks on and to test clients with.

    POST /predict takes {"inputs": [...]}, each a nested list, a base64 PNG or npy,
    or a text; or PNG and npy files as multipart. It answers scores and labels.
    GET /health says what is served, GET /count what was asked and told.
    """
    bounds = values.interval(range_)
    class_count, names = values.classes(classes)
    secret = None if token_env is None else _secret(token_env)
    out = values.writable(write_endpoint, "--write-endpoint")

    from robustly.serving.running import address, listening, refuse_without_packages, serve_on
    from robustly.serving.settings import REPLIES

    refuse_without_packages()
    values.one_of(on_detection, REPLIES, "--on-detection")
    with listening(host, port, public) as line:  # before the model is loaded: a taken port is said at once
        from robustly.adapters.models import load_model
        from robustly.report.gate import exit_code
        from robustly.serving import endpoint_file
        from robustly.serving.faults import Faults
        from robustly.serving.settings import Serving

        faults = Faults(fail_rate, busy_rate, drop_rate, slow_rate, half_rate, malformed_rate, slow, retry_after, seed)
        examples = _data(model, data, names, bounds)
        loaded = load_model(
            model, weights=weights, range=bounds, classes=class_count, device=device, trust_pickle=trust_pickle
        )
        loaded = _fitted(loaded, examples, names)
        serving = Serving(
            loaded,
            shape=(examples.shape or None) if examples else None,
            text=text or (examples is not None and examples.kind == "text"),
            label_only=label_only,
            latency=latency,
            decimals=decimals,
            faults=faults,
            defence=_defence(detector, on_detection, examples, loaded) if stateful_defence else None,
            token=secret,
            bytes=most_bytes,
            examples=most_examples,
        )
        url = address(line)
        if out is not None:
            endpoint_file.write_endpoint(out, serving, url, token_env)
            here.say(f"how to ask it stands in {out}")
        serve_on(line, serving, lambda: _say(here, serving, url))
    return exit_code()


def _say(here: options.Here, serving: Serving, url: str) -> None:
    answers = "labels" if serving.label_only else "scores and labels"
    here.say(f"{serving.model.name} answers {answers} at {url}/predict; Ctrl-C ends it")
    here.flush()


def _secret(name: str) -> str:
    from robustly.core.errors import UsageError

    found = os.environ.get(name, "")
    if not found.strip():
        raise UsageError(f"--token-env: the environment variable {name} is not set. Say export {name}=... first.")
    return found.strip()


def _data(model: str, data: str | None, names: tuple[str, ...], bounds: tuple[float, float] | None) -> Data | None:
    """The clean data that were named, or those that a zoo model was made for."""
    from robustly import zoo
    from robustly.adapters.data import load_data

    if data is None and model.startswith("zoo:"):
        source = zoo.describe(model.removeprefix("zoo:")).source
        data = next((f"zoo:{name}" for name in zoo.data_names() if zoo.describe(name).source == source), None)
    return None if data is None else load_data(data, classes=names, range=bounds)


def _fitted(model: Model, data: Data | None, names: tuple[str, ...]) -> Model:
    """The model with what the data say about it, and with the names of its classes."""
    from dataclasses import replace

    from robustly.adapters.border import check_pair

    if data is not None:
        model = check_pair(model, data).model
    if not model.labels and (names or (data and data.classes)):
        model = replace(model, labels=names or (data.classes if data else ()))
    return model


def _defence(detector: str, reply: str, data: Data | None, model: Model) -> Defence:
    from robustly.core.errors import UsageError
    from robustly.serving.detectors import DETECTORS, watch_of
    from robustly.serving.settings import Defence

    values.one_of(detector, DETECTORS, "--detector")
    if data is None:
        raise UsageError("--stateful-defence is set by clean data, which this model doesn't bring: say --data DATA.")
    return Defence(watch_of(detector, data, model.domain), reply)
