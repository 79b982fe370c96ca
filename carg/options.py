"""Options that several commands share, and the settings that they make."""

from __future__ import annotations

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
    help="Folder of the run; made if missing.",
)
seed_option = click.option("--seed", default=0, show_default=True, help="Everything drawn follows from it.")
fresh_option = click.option("--fresh", is_flag=True, help="Set what is there aside (name.1, ...) and start anew.")
width_option = click.option("--workers", type=click.IntRange(1), help="Processes; default: one for each core.")
retry_option = click.option("--retry-failed", is_flag=True, help="Try the slots again that failed; the others stay.")

_BACKEND = "world; any litellm model; replay:FILE; gtm:DIR; several by share: a=0.7,b=0.3."
_ASKING = [
    click.option("--backend", default="world", show_default=True, help=_BACKEND),
    click.option("--api-base", help="URL of an OpenAI-compatible server (vLLM, Ollama, a gateway)."),
    click.option("--width", type=click.IntRange(1), default=32, show_default=True, help="Calls in flight."),
    click.option("--temperature", type=float, help="Sampling temperature; default: the model's."),
    click.option("--rpm", type=click.FloatRange(0, min_open=True), help="Requests a minute that each model allows."),
    click.option("--tpm", type=click.FloatRange(0, min_open=True), help="Tokens a minute that each model allows."),
    click.option("--max-cost", type=float, help="Stop cleanly after so many dollars (exit 75)."),
    click.option("--max-tokens", type=int, help="Stop cleanly after so many tokens, in and out (exit 75)."),
    click.option("--max-minutes", type=float, help="Stop cleanly after so long (exit 75)."),
    click.option("--timeout", type=float, default=300.0, show_default=True, help="Seconds that a call may take."),
    click.option(
        "--max-failed",
        type=click.FloatRange(0, 1),
        default=0.1,
        show_default=True,
        help="Share of slots that may fail; above it: exit 3, what was made is kept.",
    ),
]


def backend_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of the LLM road, named as the fields of `config.Asking`."""
    for option in reversed(_ASKING):
        command = option(command)
    return command


def make_road(seed: int, options: dict[str, Any], *, retry_failed: bool = False) -> Any:
    """The Road of the options, or None for worlds."""
    if options["backend"] == "world":
        return None
    from carg.config import Asking
    from carg.stages.by_model import road_of

    return road_of(Asking(**options), seed, retry_failed=retry_failed)
