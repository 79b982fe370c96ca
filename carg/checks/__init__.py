"""Checks: functions that find a fault in a tool, an exchange or a session. See `check` for what one is.

`corpus` is apart: its functions judge many records at once and say which ids to drop.
"""

from __future__ import annotations

from dataclasses import dataclass

from carg.checks import call, exchange, paging, session, text, tool  # noqa: F401 - importing fills the list
from carg.checks.check import CHECKS, Check, check, is_empty
from carg.checks.reading import live_referees, read_scene
from carg.checks.views import Referees, Transcript, Turn
from carg.records import Definition, Tool

__all__ = [
    "CHECKS",
    "Check",
    "Complaint",
    "Referees",
    "Transcript",
    "Turn",
    "check",
    "judge_scene",
    "judge_tool",
    "live_referees",
    "read_scene",
]


@dataclass(frozen=True, slots=True)
class Complaint:
    """What a check found: its reason code, the exchange (None: the whole session or a tool), and the words."""

    check: str
    at: int | None
    words: str


def judge_tool(offer: Tool | Definition, *, recorded: bool = False) -> list[Complaint]:
    """What the checks of tools find, in the order of the list."""
    return [
        Complaint(item.name, None, f"{offer.name}: {words}")
        for item in CHECKS
        if item.judges == "tool" and (item.recorded or not recorded) and (words := item.complain(offer))
    ]


def judge_scene(transcript: Transcript) -> list[Complaint]:
    """What the checks of exchanges and sessions find; exchanges first, in their order."""
    recorded = any(turn.exchange.truth == "recorded" for turn in transcript.turns)
    due = [item for item in CHECKS if item.recorded or not recorded]
    of_exchanges = [item for item in due if item.judges == "exchange"]
    found = []
    for turn in transcript.turns:
        empty = is_empty(turn)
        for item in of_exchanges:
            if words := (item.complain if empty else item.function)(turn):
                found.append(Complaint(item.name, turn.index, words))
    for item in due:
        if item.judges == "session" and (words := item.complain(transcript)):
            found.append(Complaint(item.name, None, words))
    return found
