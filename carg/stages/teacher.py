"""A model answers calls that a world has answered already: its records beside executed truth, to be compared.

The world gives openings, calls and truths (`truths-<n>.jsonl`, sessions as any other); the model gives answers
(`sessions-<n>.jsonl`, line by line of the same sessions, `made_from` = id of the truth, name of the model). It reads
what a trained model reads: the messages of the training row up to the call, the answers before it being the true ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from carg.asking import Ask
from carg.errors import RecordError, ReplyError, StoreError
from carg.records import Exchange, Opening, Response, Session, digest
from carg.render import render_row
from carg.runner import Outcome, Outcomes, run_slots
from carg.scene import Book, Scene, open_book
from carg.stages.by_model import OPEN_SLOTS, OnDone, Report, Road, open_road, show_asking
from carg.stages.telling import scalars
from carg.store import parts, read_parts, read_records, run_digest, write_part
from carg.world.syntax import parse_call
from carg.world.wording import read_response

PROMPT = "simulate"
"""The name under which replies are journalled: there is no prompt file, the messages are those of a row."""


async def answer_truths(run: Path, road: Road, *, on_done: OnDone = lambda _name, _outcome: None) -> Report:
    """`sessions` part files with a model's answers to the calls in `truths`, a slot for each session.

    Call it again after TryLater, a kill or a crash: what is stored is not paid for again.
    """
    folder, book = run / "generate", open_book(run)
    async with open_road(road, folder) as (asks, outcomes):

        async def make(named: tuple[str, Scene]) -> Outcome:
            model = road.pick(named[0])
            session = await answer_scene(named[1], asks[model], model, lap=outcomes.lap(named[0]))
            return Outcome("accepted", {"sessions": [session]}, n_candidates=len(session.exchanges))

        def store(name: str, outcome: Outcome) -> None:
            outcomes.store(name, outcome)
            on_done(name, outcome)

        waiting = (
            (scene.session.id, (scene.session.id, scene))
            for number in range(len(parts(folder, "truths")))
            for scene in truth_scenes(book, folder, number)
            if scene.session.id not in outcomes
        )
        await run_slots(waiting, make, width=road.width * OPEN_SLOTS, on_done=store)
        return _write(folder, outcomes, asks)


def truth_scenes(book: Book, folder: Path, number: int) -> Iterator[Scene]:
    """The scenes of one part of truths."""
    openings = {opening.id: opening for opening in read_records(Opening, folder / f"openings-{number:05d}.jsonl")}
    for session in read_records(Session, folder / f"truths-{number:05d}.jsonl"):
        yield book.scene(session, openings)


async def answer_scene(scene: Scene, ask: Ask, model: str, *, lap: int = 0) -> Session:
    """The session as the model answers it, each call after the true answers to those before."""
    messages = [{"role": item.role, "content": item.content} for item in render_row(scene).messages]
    turns = scene.session.exchanges
    work = [_answer(scene, turn, messages[: 2 * at + 2], ask, lap) for at, turn in enumerate(turns)]
    ended = await asyncio.gather(*work, return_exceptions=True)
    for fault in ended:
        if isinstance(fault, BaseException):
            raise fault
    exchanges = tuple(item for item in ended if isinstance(item, Exchange))
    texts = [item.response.text for item in exchanges]
    return replace(
        scene.session,
        id=digest("teacher", scene.session.id, model, texts),
        exchanges=exchanges,
        made_from=(scene.session.id, model),
    )


async def _answer(scene: Scene, turn: Exchange, messages: list[dict[str, str]], ask: Ask, lap: int) -> Exchange:
    try:
        text = await ask.text(PROMPT, messages, sample=lap)
    except ReplyError as fault:
        return replace(turn, response=Response(False, fault.text), truth="teacher", ops=(), invented=())
    response = read_answer(scene, turn, text)
    stands = {pointer for pointer, _ in scalars(response.body)}
    invented = tuple(pointer for pointer in turn.invented if pointer in stands)
    return replace(turn, response=response, truth="teacher", ops=(), invented=invented)


def read_answer(scene: Scene, turn: Exchange, text: str) -> Response:
    """What a text means as the answer to a call; a text that is no answer of the service is neither body nor error."""
    convention = scene.instance.convention
    parsed = parse_call(convention, turn.call.text, scene.definitions)
    try:
        return read_response(convention, text, scene.definitions.get(parsed.tool or ""))
    except RecordError:
        return Response(False, text)


def truth_pairs(run: Path) -> Iterator[tuple[Scene, Session]]:
    """(true scene, the model's session) of a run. Raises StoreError where there are none."""
    folder = run / "generate"
    if not parts(folder, "truths"):
        raise StoreError(
            f"{run}: no model answered calls of worlds here", "carg generate --backend MODEL on tools of worlds"
        )
    book = open_book(run)
    for number in range(len(parts(folder, "truths"))):
        made = {item.made_from[0]: item for item in read_records(Session, folder / f"sessions-{number:05d}.jsonl")}
        for scene in truth_scenes(book, folder, number):
            if scene.session.id in made:
                yield scene, made[scene.session.id]


def _write(folder: Path, outcomes: Outcomes, asks: dict[str, Ask]) -> Report:
    ids: list[str] = []
    n_exchanges = 0
    for number in range(len(parts(folder, "truths"))):
        truths = [truth.id for truth in read_records(Session, folder / f"truths-{number:05d}.jsonl")]
        made = [record for outcome in outcomes.read(truths) for record in outcome.records.get("sessions", ())]
        ids += [record["id"] for record in made]
        n_exchanges += sum(len(record["exchanges"]) for record in made)
        write_part(folder, "sessions", number, made)
    names = [truth.id for truth in read_parts(Session, folder, "truths")]
    counts = {"sessions": len(ids), "exchanges": n_exchanges}
    unusable = dict(outcomes.unusable(names))
    return Report(outcomes.tally(names), counts, run_digest({"sessions": ids}), {}, show_asking(asks), unusable)
