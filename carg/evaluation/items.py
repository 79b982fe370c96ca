"""The items of an evaluation: supervised answers of a dataset, each after its true history, drawn once for everybody.

Rows tell the messages, the sessions of the run beside them the truth: both must be of the same filter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from carg.errors import ConfigError, RecordError, StoreError
from carg.records import Definition, Exchange, Json, Opening, Response, Session, digest
from carg.render import user_text
from carg.scene import Scene, count_parts, open_book
from carg.shards import read_rows
from carg.splits import SPLITS
from carg.store import read_records
from carg.world.knowledge import Knowledge
from carg.world.replay import replay_answers, start_state
from carg.world.syntax import parse_call
from carg.world.view import view_of
from carg.world.wording import read_response

HELD_OUT = ("test_tools", "test_domains", "test_real")
"""Splits that are measured unless others are named: those of them that the dataset has."""
SHOWS_RETURNS = ("full", "no_errors")
"""Definition levels at which a model can read what a body looks like."""


@dataclass(frozen=True, slots=True)
class Item:
    """One answer to be given. `messages` end with the call; `wanted` is what the true text says.

    `number` is the place of the exchange in the session of `scene`. `invented` covers all values of the true body that
    do not follow from what was read, nulls that the convention leaves out, too.
    """

    id: str
    split: str
    scene: Scene
    number: int
    messages: tuple[dict[str, str], ...]
    definition: Definition | None
    wanted: Response
    invented: tuple[str, ...]

    @property
    def exchange(self) -> Exchange:
        """Call, directive and true answer."""
        return self.scene.session.exchanges[self.number]

    @property
    def shows_returns(self) -> bool:
        """Whether the row shows what the tool returns."""
        shown = self.definition is not None and self.definition.returns is not None
        return shown and self.scene.session.level in SHOWS_RETURNS


def read_items(run: Path, dataset: Path, splits: Sequence[str], limit: int) -> list[Item]:
    """About `limit` items of each split, by whole rows in an order drawn once; all of a split that has fewer.

    Without `splits`: those of HELD_OUT that the dataset has. Raises StoreError or ConfigError where the dataset is
    empty, lacks a split, or lies beside no run of its own.
    """
    found = [split for split in splits_of(dataset) if split in HELD_OUT]
    if not dataset.is_dir():
        raise StoreError(f"{dataset}: no such dataset", "run `carg filter` first, or name the folder of a dataset")
    if not splits and not found:
        if (dataset / "dataset").is_dir():
            raise ConfigError(f"{dataset} is a run", f"name its dataset: {dataset / 'dataset'}")
        raise ConfigError(f"{dataset} holds no {', '.join(HELD_OUT)}", "name a split: --split validation")
    rows = [row for split in dict.fromkeys(splits or found) for row in _choose_rows(dataset, split, limit)]
    scenes = _find_scenes(run, dataset, {row["meta"]["session"] for row in rows})
    return [item for row in rows for item in _items_of(row, scenes.get(row["meta"]["session"]), run, dataset)]


def splits_of(dataset: Path) -> list[str]:
    """The splits of simulator rows that a dataset has."""
    return [split for split in SPLITS if any((dataset / "simulator").glob(f"{split}-*.parquet"))]


def _choose_rows(dataset: Path, split: str, limit: int) -> list[dict[str, Any]]:
    """Whole rows until there are enough answers: the order is drawn by their ids, so that all services take part."""
    sizes = {row["id"]: sum(said["train"] for said in row["messages"]) for row in read_rows(dataset, split=split)}
    chosen: set[str] = set()
    total = 0
    for name in sorted(sizes, key=lambda name: digest("evaluate", name)):
        if total >= limit:
            break
        chosen.add(name)
        total += sizes[name]
    rows = [row for row in read_rows(dataset, split=split) if row["id"] in chosen]
    if not total:
        raise StoreError(f"{dataset}: {split} holds no answers", "generate more, then `carg filter`")
    return [{**row, "split": split, "meta": orjson.loads(row["meta"])} for row in rows]


def _find_scenes(run: Path, dataset: Path, wanted: set[str]) -> dict[str, Scene]:
    """The scenes of the sessions that rows were made of, by their id."""
    if not (run / "generate").is_dir():
        raise StoreError(
            f"{run}: no sessions of {dataset} lie here", "name the run that the dataset was made in: --run RUN"
        )
    book, found = open_book(run), dict[str, Scene]()
    for number in range(count_parts(run)):
        sessions = read_records(Session, run / "generate" / f"sessions-{number:05d}.jsonl")
        chosen = [session for session in sessions if session.id in wanted]
        kept = run / "generate" / f"openings-{number:05d}.jsonl"
        needed = {session.opening for session in chosen}
        openings = read_records(Opening, kept) if kept.exists() and needed - {None} else ()
        known = {opening.id: opening for opening in openings if opening.id in needed}
        found |= {session.id: book.scene(session, known) for session in chosen}
    return found


def _items_of(row: dict[str, Any], scene: Scene | None, run: Path, dataset: Path) -> Iterator[Item]:
    if scene is None:
        raise StoreError(
            f"{dataset}: row {row['id']} is of session {row['meta']['session']}, which {run} does not hold",
            "the sessions were made anew: run `carg filter --fresh`, or name the run of this dataset by --run",
        )
    messages = [{"role": said["role"], "content": said["content"]} for said in row["messages"]]
    scene = _as_in_row(scene, messages)
    invented = invented_places(scene)
    for number, exchange in enumerate(scene.session.exchanges):
        at = 2 * number + 2
        if not row["messages"][at]["train"]:
            continue
        name = parse_call(scene.instance.convention, exchange.call.text, scene.definitions).tool
        definition = scene.definitions.get(name or "")
        yield Item(
            id=digest("item", row["id"], number, messages[:at]),
            split=row["split"],
            scene=scene,
            number=number,
            messages=tuple(messages[:at]),
            definition=definition,
            wanted=_read_truth(scene, exchange, definition),
            invented=tuple(dict.fromkeys([*exchange.invented, *invented[number]])),
        )


def _as_in_row(scene: Scene, messages: Sequence[dict[str, str]]) -> Scene:
    """The scene with the exchanges that the row has: the filter may have dropped some of those that stand alone."""
    left = iter(scene.session.exchanges)
    kept = []
    for said, answered in zip(messages[1::2], messages[2::2], strict=True):
        pair = said["content"], answered["content"]
        match = next((item for item in left if pair == (_said(item), item.response.text)), None)
        if match is None:
            raise StoreError(
                f"session {scene.session.id}: the row has another turn than the record",
                "rendering has changed since: run `carg filter --fresh`",
            )
        kept.append(match)
    return replace(scene, session=replace(scene.session, exchanges=tuple(kept)))


def _said(exchange: Exchange) -> str:
    return user_text(exchange.call.text, exchange.directive)


def invented_places(scene: Scene) -> list[tuple[str, ...]]:
    """Where values may differ, for each exchange, by executing it again; nothing more than recorded without a world."""
    if not is_executed(scene) or scene.opening is None:
        return [()] * len(scene.session.exchanges)
    knowledge = Knowledge(view_of(scene.session.view), start_state(scene.opening, scene.session).tables)
    return [knowledge.judge(answered)[1] for answered in replay_answers(scene)]


def is_executed(scene: Scene) -> bool:
    """Whether a world gave all the answers."""
    return scene.opening is not None and all(item.truth == "code" for item in scene.session.exchanges)


def _read_truth(scene: Scene, exchange: Exchange, definition: Definition | None) -> Response:
    # A convention may not say all that the world knows of an error, so both sides are taken as they read.
    return read_answer(scene, exchange.response.text, definition) or exchange.response


def read_answer(scene: Scene, text: str, definition: Definition | None) -> Response | None:
    """What a text means as an answer of this service; None where it is no such answer."""
    try:
        return read_response(scene.instance.convention, text, definition)
    except RecordError:
        return None


def by_scene(items: Iterable[Item]) -> list[list[Item]]:
    """The items of each scene together, in order."""
    groups: dict[int, list[Item]] = {}
    for item in items:
        groups.setdefault(id(item.scene), []).append(item)
    return list(groups.values())


def sizes(items: Iterable[Item]) -> dict[str, Json]:
    """How many items each split has, of how many instances of services."""
    found: dict[str, list[Item]] = {}
    for item in items:
        found.setdefault(item.split, []).append(item)
    return {
        split: {"items": len(some), "instances": len({item.scene.instance.id for item in some})}
        for split, some in found.items()
    }
