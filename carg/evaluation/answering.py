"""A model's answers to items: asked at most once, from its journal where they are there, with how long each took."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from carg.asking import Ask, Budget
from carg.backends import Backend, Reply, Request, open_backend
from carg.config import Asking, sampling_of
from carg.errors import BackendError, CargError, ReplyError
from carg.evaluation.controls import Said
from carg.evaluation.items import Item
from carg.journal import Journal
from carg.ledger import JOURNAL, Spent, read_spent, sum_up
from carg.pacing import Pace
from carg.records import Json, digest
from carg.world.answers import answer_schema

ANSWER_TOKENS = 1_024
LOCAL_WIDTH = 128
"""Calls that wait for a model on this machine: twice what is decoded together, so that it never idles."""
LOCAL_TIMEOUT_S = 3_600.0
"""What waits behind a long answer on a CPU waits long, too."""
PROMPT = "evaluate"
"""The name under which replies are journalled: the messages are those of a row."""

OnCount = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Answers:
    """What one backend said, by item; an item without an answer is missing."""

    said: dict[str, Said]
    seconds: float
    """By the clock, for the answers that were not known before."""
    width: int = 1
    paid: Spent | None = None
    """What all visits took for these and other answers of the backend; None for controls."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Why there is no answer."""


async def ask_model(
    backend: str, items: Sequence[Item], folder: Path, asking: Asking, on_count: OnCount = lambda _n: None
) -> Answers:
    """A model's answers, from its journal where they are there. A call that is given up stays unanswered."""
    is_local = backend.startswith("gtm:")
    width = LOCAL_WIDTH if is_local else asking.width
    asked = _by_length(items)
    name = f"{backend} {_stamp(Path(backend[4:]))}" if is_local else f"{backend} {asking.api_base or ''}".strip()
    place = folder / slug(backend)
    said, failed = dict[str, Said](), dict[str, str]()
    began = time.perf_counter()
    pace = Pace(asking.rpm, asking.tpm)
    async with open_backend(backend, api_base=asking.api_base, pace=pace) as opened:
        clock = _Clock(opened, {_key(item.messages): schema_of(item) for item in asked} if is_local else {})
        with Journal(place / JOURNAL) as journal:
            ask = Ask(
                clock,
                journal,
                name,
                {"max_tokens": ANSWER_TOKENS, **sampling_of(asking)},
                width,
                Budget(asking.max_cost, asking.max_tokens, asking.max_minutes),
                timeout_s=LOCAL_TIMEOUT_S if is_local else asking.timeout,
                pace=pace,
            )

            async def answer(item: Item) -> None:
                try:
                    text = await ask.text(PROMPT, item.messages)
                except ReplyError as fault:
                    text = fault.text
                except BackendError as fault:
                    failed[item.id] = fault.message
                    on_count(1)
                    return
                said[item.id] = Said(text, clock.seconds.get(_key(item.messages)))
                on_count(1)

            ended = await asyncio.gather(*(answer(item) for item in asked), return_exceptions=True)
    faults = [one for one in ended if one is not None]
    if told := next((one for one in faults if isinstance(one, CargError)), None):
        raise told
    if faults:
        raise BackendError(f"{backend}: {type(faults[0]).__name__}: {faults[0]}") from faults[0]
    return Answers(said, time.perf_counter() - began, width, sum_up(read_spent(place)), failed)


class _Clock:
    """A backend that notes how long each answer took, and hands on the schema that a question's answer must fit."""

    def __init__(self, backend: Backend, schemas: Mapping[str, dict[str, Json] | None]) -> None:
        self.backend = backend
        self.schemas = schemas
        self.seconds: dict[str, float] = {}

    async def complete(self, request: Request) -> Reply:
        """The answer of the backend behind."""
        key = _key(request.messages)
        schema = self.schemas.get(key, request.schema)
        began = time.perf_counter()
        reply = await self.backend.complete(replace(request, schema=schema))
        self.seconds[key] = time.perf_counter() - began
        return reply


def _key(messages: Sequence[Mapping[str, str]]) -> str:
    return digest("messages", list(messages))


def schema_of(item: Item) -> dict[str, Json] | None:
    """What the answer to an item can be; None where a directive breaks its shape, and where nobody can say."""
    if item.definition is None or item.exchange.directive is not None:
        return None
    return answer_schema(item.scene.instance.convention, item.definition) if item.shows_returns else None


def _by_length(items: Sequence[Item]) -> list[Item]:
    """Longest first: batches are of like length, and a memory that is too small shows at once."""
    return sorted(items, key=lambda item: -sum(len(said["content"]) for said in item.messages))


def _stamp(model: Path) -> str:
    """What changes when the weights in a folder do."""
    files = [*sorted(model.glob("*.safetensors")), model / "config.json"]
    return digest("model", [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files])


def slug(backend: str) -> str:
    """A backend as the name of a file."""
    return re.sub(r"[^\w.-]+", "_", backend).strip("._")[-80:]
