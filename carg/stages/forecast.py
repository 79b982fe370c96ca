"""What the LLM road will cost before it is walked: calls, tokens and dollars by prompt.

Token counts are what the prompts themselves hold, at CHARS_A_TOKEN, plus what is put into them and what comes back on
average. The price is litellm's bundled one, read from its file: litellm itself is not imported.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import orjson

from carg.ledger import Spent, sum_up
from carg.prompts import load_prompt, prompt_names, render_prompt
from carg.records import Json
from carg.stages.by_model import CALLS_A_SINGLE, SESSION_LENGTH, SESSION_SHARE
from carg.stages.invent import BATCH, TOOLS_A_SERVICE
from carg.stages.queries import QUERIES_A_SLOT

CHARS_A_TOKEN = 4.0
REPAIRS = 1.1
"""Calls for each question that is answered at once, one in ten being asked again."""
WHOLE_SHARE = 0.8
"""Of the steps of a session written at once, those that stand before it is cut."""
SETTLED = 0.3
"""Share of calls that code answers: those that break the schema, a rule, or name a deleted record."""

_FILLING = {
    "services": (350, 2200),
    "tools": (1500, 4200),
    "calls": (700, 900),
    "session": (3200, 130),
    "respond": (2000, 260),
    "whole": (2700, 1900),
    "queries": (2600, 700),
    "simulate": (5000, 200),
}
"""Tokens put into a prompt, and tokens that come back. Estimates, until replies of the run itself are measured."""
STAGE_OF = dict.fromkeys(("services", "tools"), "expand") | dict.fromkeys(
    ("calls", "session", "respond", "whole", "queries", "simulate"), "generate"
)

FIRST_TOKEN_S, TOKENS_A_S = 1.0, 60.0
"""Of a hosted model of middle size: a call takes the first and its tokens at the second. A guess, as the fillings."""
LEAST_MEASURED = 20
"""Replies of a prompt from which on their own means are taken."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What one prompt will take from one model. `cost` is in US dollars, None where no price is known.

    The truth is expected between the figures divided and multiplied by `spread`; `n_measured` replies they rest on.
    """

    prompt: str
    calls: int
    tokens_in: int
    tokens_out: int
    cost: float | None
    model: str = ""
    n_measured: int = 0

    @property
    def stage(self) -> str:
        """The stage that asks this prompt."""
        return STAGE_OF[self.prompt]

    @property
    def spread(self) -> float:
        """2 for estimates, 4 for tools: a model that repeats itself is asked for several candidates of each.

        Near 1 where many replies were measured.
        """
        if self.n_measured >= LEAST_MEASURED:
            return 1.1 + 1.5 / math.sqrt(self.n_measured)
        return 4.0 if self.prompt == "tools" else 2.0

    def minutes(self, width: int, rpm: float | None = None, tpm: float | None = None) -> float:
        """How long these calls take, `width` at a time, under the limits of the account."""
        seconds = self.calls * FIRST_TOKEN_S + self.tokens_out / TOKENS_A_S
        by_requests = self.calls / rpm if rpm else 0.0
        by_tokens = (self.tokens_in + self.tokens_out) / tpm if tpm else 0.0
        return max(seconds / 60 / width, by_requests, by_tokens)


def forecast_teacher(
    model: str, n_exchanges: int, *, share: float = 1.0, spent: Sequence[Spent] = ()
) -> list[Forecast]:
    """The forecast of `generate` where worlds give calls and truths, and the model one answer to each."""
    return [_line("simulate", math.ceil(n_exchanges * share), model, spent)]


def forecast_road(
    model: str,
    *,
    n_domains: int,
    n_tools: int,
    n_exchanges: int,
    n_queries: int = 0,
    session_mode: str = "stepwise",
    share: float = 1.0,
    spent: Sequence[Spent] = (),
) -> list[Forecast]:
    """The forecast of `expand` and `generate` by this model, a line for each prompt.

    `share` is the model's part of the slots; `spent` are the replies of a run so far: what they took goes before
    estimates.
    """
    a_domain = n_tools / max(1, n_domains)
    n_services = n_domains * min(12, max(1, round(a_domain / TOOLS_A_SERVICE)))
    a_service = n_tools / max(1, n_services)
    in_sessions = n_exchanges * SESSION_SHARE
    n_sessions = in_sessions / (sum(SESSION_LENGTH) / 2)
    questions = {
        "services": n_domains if n_tools else 0,
        "tools": n_services * math.ceil(a_service / BATCH),
        "calls": (n_exchanges - in_sessions) / CALLS_A_SINGLE,
        "session": in_sessions + n_sessions if session_mode == "stepwise" else 0,
        "respond": (n_exchanges if session_mode == "stepwise" else n_exchanges - in_sessions) * (1 - SETTLED),
        "whole": n_sessions / WHOLE_SHARE if session_mode == "whole" else 0,
        "queries": n_queries / QUERIES_A_SLOT,
    }
    return [_line(prompt, math.ceil(number * share * REPAIRS), model, spent) for prompt, number in questions.items()]


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


def _line(prompt: str, calls: int, model: str, spent: Sequence[Spent]) -> Forecast:
    known = sum_up(line for line in spent if line.prompt == prompt)
    if known.replies >= LEAST_MEASURED:
        each = known.tokens_in / known.replies, known.tokens_out / known.replies
    else:
        put_in, comes_back = _FILLING[prompt]
        each = _own_tokens(prompt) + put_in, comes_back
    tokens_in, tokens_out = (round(calls * tokens) for tokens in each)
    price = price_of(model)
    cost = None if price is None else tokens_in * price[0] + tokens_out * price[1]
    n_measured = known.replies if known.replies >= LEAST_MEASURED else 0
    return Forecast(prompt, calls, tokens_in, tokens_out, cost, model, n_measured)


def _own_tokens(prompt: str) -> float:
    """Tokens of a prompt with nothing put in."""
    if prompt not in prompt_names():
        return 0.0
    loaded = load_prompt(prompt)
    empty = render_prompt(loaded, dict.fromkeys(loaded.variables, ""))
    return sum(len(message["content"]) for message in empty) / CHARS_A_TOKEN
