"""What the LLM road will cost before it is walked: calls, tokens and dollars by prompt.

Token counts are what the prompts themselves hold, at CHARS_A_TOKEN, plus what is put into them and what comes back on
average. The price is litellm's bundled one, read from its file: litellm itself is not imported.
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import orjson

from carg.prompts import load_prompt, render_prompt
from carg.records import Json
from carg.stages.by_model import CALLS_A_SINGLE, SESSION_LENGTH, SESSION_SHARE
from carg.stages.invent import BATCH, TOOLS_A_SERVICE

CHARS_A_TOKEN = 4.0
REPAIRS = 1.1
"""Calls for each question that is answered at once, one in ten being asked again."""
SETTLED = 0.3
"""Share of calls that code answers: those that break the schema, a rule, or name a deleted record."""

_FILLING = {
    "services": (350, 2200),
    "tools": (1500, 4200),
    "calls": (700, 900),
    "session": (3200, 130),
    "respond": (2000, 260),
}
"""Tokens put into a prompt, and tokens that come back. Estimates: replace them by the counts of a first small run."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What one prompt will take. `cost` is in US dollars, None where no price is known."""

    prompt: str
    calls: int
    tokens_in: int
    tokens_out: int
    cost: float | None


def forecast_road(model: str, *, n_domains: int, n_tools: int, n_exchanges: int) -> list[Forecast]:
    """The forecast of `expand` and `generate` by this model, a line for each prompt."""
    a_domain = n_tools / max(1, n_domains)
    n_services = n_domains * min(12, max(1, round(a_domain / TOOLS_A_SERVICE)))
    a_service = n_tools / max(1, n_services)
    in_sessions = n_exchanges * SESSION_SHARE
    n_sessions = in_sessions / (sum(SESSION_LENGTH) / 2)
    questions = {
        "services": n_domains if n_tools else 0,
        "tools": n_services * math.ceil(a_service / BATCH),
        "calls": (n_exchanges - in_sessions) / CALLS_A_SINGLE,
        "session": in_sessions + n_sessions,
        "respond": n_exchanges * (1 - SETTLED),
    }
    return [_line(prompt, math.ceil(number * REPAIRS), price_of(model)) for prompt, number in questions.items()]


@cache
def price_of(model: str) -> tuple[float, float] | None:
    """US dollars for a token in and a token out, by litellm's bundled price map; None where it knows no such model."""
    found = importlib.util.find_spec("litellm")
    if found is None or not found.submodule_search_locations:
        return None
    path = Path(found.submodule_search_locations[0]) / "model_prices_and_context_window_backup.json"
    if not path.exists():
        return None
    prices: dict[str, Json] = orjson.loads(path.read_bytes())
    known = prices.get(model) or prices.get(model.partition("/")[2])
    if not known or "input_cost_per_token" not in known:
        return None
    return float(known["input_cost_per_token"]), float(known.get("output_cost_per_token", 0.0))


def _line(prompt: str, calls: int, price: tuple[float, float] | None) -> Forecast:
    loaded = load_prompt(prompt)
    empty = render_prompt(loaded, dict.fromkeys(loaded.variables, ""))
    own = sum(len(message["content"]) for message in empty) / CHARS_A_TOKEN
    put_in, comes_back = _FILLING[prompt]
    tokens_in, tokens_out = round(calls * (own + put_in)), calls * comes_back
    cost = None if price is None else tokens_in * price[0] + tokens_out * price[1]
    return Forecast(prompt, calls, tokens_in, tokens_out, cost)
