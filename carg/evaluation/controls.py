"""Answers that need no model, to read a table by: the world itself, its twin, an echo of the call, the nearest row.

world and twin say whether the measuring is right: both must be without a fault. echo and nearest know the format and
nothing of the work: what comes near them has learnt nothing.
"""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from carg.errors import ConfigError
from carg.evaluation.items import Item, by_scene, is_executed
from carg.shards import read_rows
from carg.world.playing import answers_of_twin
from carg.world.replay import replay_answers
from carg.world.service import Answered
from carg.world.syntax import parse_call
from carg.world.wording import answer

CONTROLS = ("world", "twin", "echo", "nearest")
MOST_TRAINING = 50_000
"""Exchanges of the training split among which the nearest is looked for; more change little and take memory."""
_TERMS = 1 << 18
_COMMON = 0.25
"""Terms in a larger share of all calls tell nothing, and cost most of the time."""
_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")


@dataclass(frozen=True, slots=True)
class Said:
    """An answer, and how long it took in seconds; None where it was known before or nobody measured it."""

    text: str
    seconds: float | None


def is_control(backend: str) -> bool:
    """Whether a name of --backend is a control: world, twin, twin:SEED, echo, nearest."""
    name, _, seed = backend.partition(":")
    return name in CONTROLS and (not seed or (name == "twin" and seed.isdigit()))


def answer_by_control(backend: str, items: Sequence[Item], dataset: Path) -> dict[str, Said]:
    """The control's answer to each item, by id. Raises ConfigError where no world stands behind one of them."""
    name, _, seed = backend.partition(":")
    if name == "nearest":
        return dict(_timed_each(items, Nearest(dataset).answer))
    if name == "echo":
        return dict(_timed_each(items, echo))
    return dict(_played(items, name, int(seed or 1)))


def _timed_each(items: Sequence[Item], say: Any) -> Iterator[tuple[str, Said]]:
    for item in items:
        began = time.perf_counter()
        text = say(item)
        yield item.id, Said(text, time.perf_counter() - began)


def _played(items: Sequence[Item], name: str, seed: int) -> Iterator[tuple[str, Said]]:
    for group in by_scene(items):
        scene = group[0].scene
        if not is_executed(scene):
            raise ConfigError(
                f"backend {name}: no world gave the answers of session {scene.session.id} ({scene.instance.service})",
                "leave this control out, or name splits of worlds",
            )
        began = time.perf_counter()
        answers: list[Answered] = replay_answers(scene) if name == "world" else answers_of_twin(scene, seed)
        seconds = (time.perf_counter() - began) / len(answers)
        yield from ((item.id, Said(answers[item.number].response.text, seconds)) for item in group)


def echo(item: Item) -> str:
    """A success of the right form around the arguments of the call, whatever it asks."""
    convention, shown = item.scene.instance.convention, item.scene.definitions
    parsed = parse_call(convention, item.exchange.call.text, shown)
    definition = item.definition or next(iter(shown.values()))
    return answer(convention, definition, parsed.arguments or {}).text


class Nearest:
    """Answers with the training answer whose call has most in common with this one: names, keys, values.

    Terms are parts of words and pairs of neighbours, hashed; rare ones weigh more (tf-idf, cosine).
    """

    def __init__(self, dataset: Path) -> None:
        import numpy as np

        self.answers: list[str] = []
        terms: list[Any] = []
        for call, text in _training(dataset):
            terms.append(_terms(call))
            self.answers.append(text)
        numbers = np.repeat(np.arange(len(terms)), [len(some) for some in terms])
        every = np.concatenate(terms) if terms else np.zeros(0, np.int64)
        counts = np.bincount(every, minlength=_TERMS)
        self._weight = np.log((1 + len(terms)) / (1 + counts)) ** 2
        self._weight[(counts == 0) | (counts > max(1.0, _COMMON * len(terms)))] = 0
        self._norm = np.sqrt(np.bincount(numbers, weights=self._weight[every], minlength=len(terms))) + 1e-9
        self._numbers = numbers[np.argsort(every, kind="stable")]
        self._ends = np.cumsum(counts)

    def answer(self, item: Item) -> str:
        """The text of that training row as it is."""
        import numpy as np

        if not self.answers:
            return ""
        scores = np.zeros(len(self.answers))
        for term in _terms(item.messages[-1]["content"]):
            if self._weight[term] > 0:
                begins = self._ends[term - 1] if term else 0
                scores[self._numbers[begins : self._ends[term]]] += self._weight[term]
        return self.answers[int(np.argmax(scores / self._norm))]


def _training(dataset: Path) -> Iterator[tuple[str, str]]:
    left = MOST_TRAINING
    for row in read_rows(dataset, split="train"):
        for said, answered in zip(row["messages"][1::2], row["messages"][2::2], strict=True):
            if answered["train"] and left > 0:
                left -= 1
                yield said["content"], answered["content"]


def _terms(text: str) -> Any:
    import numpy as np

    parts = [part.lower() for part in _PART.findall(text)]
    pairs: Iterable[str] = (f"{one} {other}" for one, other in pairwise(parts))
    found = {zlib.crc32(term.encode()) % _TERMS for term in (*parts, *pairs)}
    return np.array(sorted(found), np.int64)
