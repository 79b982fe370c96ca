"""carg's LLM road: prompt rendered, answer journalled, parsed, checked against its schema, slot stored."""

from __future__ import annotations

import asyncio
from pathlib import Path

from questions import SCHEMA, given, questions

from carg.asking import Ask
from carg.backends import open_backend
from carg.journal import Journal
from carg.runner import Outcome, Outcomes, run_slots


async def main() -> None:
    url, rows, width, folder = given()
    async with open_backend("m", api_base=url) as backend:
        with Journal(Path(folder) / "replies.jsonl") as replies, Journal(Path(folder) / "slots.jsonl") as journal:
            ask, outcomes = Ask(backend, replies, "m", width=width), Outcomes(journal)

            async def make(question: str) -> Outcome:
                texts = dict.fromkeys(("documentation", "definition", "state", "history", "verdict"), "-")
                value = await ask("respond", {**texts, "call": {"said": question}}, schema=SCHEMA)
                return Outcome("accepted", {"answers": [value]})

            slots = {str(number): text for number, text in enumerate(questions(rows))}
            await run_slots(slots.items(), make, width=4 * width, on_done=outcomes.store)
            print(outcomes.tally(slots).accepted)


asyncio.run(main())
