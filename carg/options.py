"""Options that several commands share, and the settings that they make."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

DEFAULT_RUN = "outputs/run"

run_option = click.option(
    "--run",
    type=click.Path(path_type=Path),
    default=DEFAULT_RUN,
    show_default=True,
    help="Folder of the run.",
)
seed_option = click.option("--seed", default=0, show_default=True, help="Everything drawn follows from it.")
fresh_option = click.option("--fresh", is_flag=True, help="Set what is there aside (name.1, ...) and start anew.")
width_option = click.option("--workers", type=click.IntRange(1), help="Processes; default: one for each core.")
retry_option = click.option("--retry-failed", is_flag=True, help="Try the slots again that failed; the others stay.")


def _finite(_context: click.Context, _option: click.Parameter, value: float | None) -> float | None:
    """The value; nan would be no limit at all, for nothing is above it."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is not finite.")
    return value


def above_0(name: str, help_text: str, default: float | None = None) -> Callable[..., Any]:
    """An option whose value is a finite number above 0."""
    kind = click.FloatRange(0, min_open=True)
    return click.option(name, type=kind, default=default, show_default=True, callback=_finite, help=help_text)


_BACKEND = (
    "world; any litellm model; MODEL@URL for an OpenAI-compatible server; replay:FILE; gtm:DIR; several by share: "
    "a=0.7,b@http://host:8000/v1=0.3."
)
_API_BASE = (
    "URL of an OpenAI-compatible server (vLLM, Ollama, a gateway) for the models without a URL of their own. Its key "
    "is read from CARG_API_KEY, that of MODEL@http://host:8000/v1 from CARG_API_KEY_HOST_8000."
)
_SAMPLING = "Further option of the model, as in reasoning_effort=low or top_p=0.9; may be given several times."
_ASKING = [
    click.option("--backend", default="world", show_default=True, help=_BACKEND),
    click.option("--api-base", help=_API_BASE),
    click.option("--width", type=click.IntRange(1), default=32, show_default=True, help="Calls in flight."),
    click.option(
        "--temperature", type=click.FloatRange(0), callback=_finite, help="Sampling temperature; default: the model's."
    ),
    click.option("--sampling", multiple=True, metavar="NAME=VALUE", help=_SAMPLING),
    above_0("--rpm", "Requests a minute that each model allows."),
    above_0("--tpm", "Tokens a minute that each model allows."),
    above_0("--max-cost", "Stop cleanly after so many dollars (exit 75)."),
    click.option("--max-tokens", type=click.IntRange(1), help="Stop cleanly after so many tokens, in + out (exit 75)."),
    above_0("--max-minutes", "Stop cleanly after so long (exit 75)."),
    above_0("--timeout", "Seconds that a call may take.", 300.0),
    click.option(
        "--max-failed",
        type=click.FloatRange(0, 1),
        default=0.1,
        show_default=True,
        help="Share of slots that may fail; above it: exit 3, what was made is kept.",
    ),
]


_SESSIONS = [
    click.option(
        "--session-mode",
        type=click.Choice(["stepwise", "whole"]),
        default="stepwise",
        show_default=True,
        help="Sessions by a model: a question for each call and answer, or, cheaper, one for a whole session.",
    ),
    click.option(
        "--queries", type=click.IntRange(0), default=0, help="Queries of people, written by the model besides."
    ),
]


def session_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What a model is to write in `generate`, named as the fields of `config.GenerateSettings`."""
    for option in reversed(_SESSIONS):
        command = option(command)
    return command


def backend_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of the LLM road, named as the fields of `config.Asking`."""
    for option in reversed(_ASKING):
        command = option(command)
    return command


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How models are asked, whichever they are: the options of the LLM road but its backend and its failures."""
    for option in reversed(_ASKING[1:-1]):
        command = option(command)
    return command


def make_road(seed: int, options: dict[str, Any], *, retry_failed: bool = False) -> Any:
    """The Road of the options, or None for worlds."""
    if options["backend"] == "world":
        return None
    from carg.config import Asking
    from carg.stages.by_model import road_of

    return road_of(Asking(**options), seed, retry_failed=retry_failed)
