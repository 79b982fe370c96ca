"""What every client of the comparison asks: as many different questions of 700 bytes as there are rows."""

import sys
from typing import NamedTuple

SCHEMA = {
    "type": "object",
    "properties": {
        "ok": {"const": True},
        "body": {"type": "object", "properties": {"note": {"type": "string", "maxLength": 2000}}},
        "error": {"type": "null"},
    },
    "required": ["ok", "body", "error"],
    "additionalProperties": False,
}
"""What carg checks the server's answers against."""


class Given(NamedTuple):
    """The command line of a client: URL ROWS WIDTH FOLDER."""

    url: str
    rows: int
    width: int
    folder: str


def given() -> Given:
    return Given(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])


def questions(rows: int) -> list[str]:
    return [f"Question {number}: {'what does the tool answer to this call? ' * 18}"[:700] for number in range(rows)]
