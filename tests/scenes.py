"""A small library service made by hand, executed by a few lines of code: sound scenes, and ways to spoil them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any, NamedTuple

import orjson

from carg.checks import Referees
from carg.errors import RecordError
from carg.records import (
    Call,
    Convention,
    Definition,
    ErrorSpec,
    Exchange,
    Instance,
    Json,
    Message,
    Opening,
    Response,
    Row,
    Session,
    ToolError,
    Violation,
    digest,
)
from carg.scene import Scene
from carg.schemas import faults
from carg.world.syntax import Parsed

NOW = 1_700_000_000
STATES = ["shelved", "lent", "lost"]
TEXT = {"type": "string", "maxLength": 80, "description": "A short text."}
ID = {"type": "string", "maxLength": 12, "description": "The id of a book."}
PAGES = {"type": "integer", "minimum": 1, "maximum": 5000, "description": "How many pages it has."}
STATE = {"type": "string", "enum": STATES, "description": "Where the book is."}
BOOK = {
    "type": "object",
    "properties": {
        "id": ID,
        "title": TEXT,
        "state": STATE,
        "pages": PAGES,
        "note": {"type": ["string", "null"], "maxLength": 80},
        "created_at": {"type": "string", "format": "date-time"},
        "updated_at": {"type": "string", "format": "date-time"},
    },
    "required": ["id", "title", "state", "pages"],
    "additionalProperties": False,
}


def close(properties: dict[str, Json], *required: str) -> dict[str, Json]:
    """An object schema of exactly these properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


class RefusedError(Exception):
    """The little world refuses a call: code, class, status and field."""


NOT_FOUND = ErrorSpec("book_not_found", "state.not_found", 404, "No book {id}.", "id", {"state": "exists"})
NOT_SHELVED = ErrorSpec("not_shelved", "state.order", 409, "Book {id} is not on its shelf.", "id", {"state": "shelved"})
SORTS = ["title", "-title", "pages", "-pages"]
SEARCH = {
    "state": STATE,
    "min_pages": PAGES,
    "limit": {"type": "integer", "minimum": 1, "maximum": 50, "default": 5, "description": "At most so many."},
    "offset": {"type": "integer", "minimum": 0, "maximum": 500, "description": "Where to start."},
    "sort": {"type": "string", "enum": SORTS, "description": "The order of the books."},
}
PAGE = close(
    {"books": {"type": "array", "maxItems": 50, "items": BOOK}, "total": {"type": "integer", "minimum": 0}}, "books"
)


def define(name: str, effect: Any, parameters: Json, returns: Json, *errors: ErrorSpec, **places: str) -> Definition:
    """A definition of the little library."""
    return Definition(
        tool=digest("tool", name),
        key=f"library/desk/{name}",
        name=name,
        title=name.replace("_", " "),
        description=f"{name.replace('_', ' ').capitalize()} of the town library.",
        parameters=parameters,
        returns=returns,
        errors=errors,
        effect=effect,
        http=("POST", f"/{name}"),
        resource="book",
        **places,
    )


DEFINITIONS = {
    item.name: item
    for item in (
        define(
            "create_book",
            "create",
            close({"title": TEXT, "pages": PAGES, "note": {**TEXT, "default": "none"}}, "title", "pages"),
            BOOK,
            id_result="id",
        ),
        define("get_book", "read", close({"id": ID}, "id"), BOOK, NOT_FOUND, id_argument="id", id_result="id"),
        define("search_books", "search", close(SEARCH), PAGE, records_result="books"),
        define(
            "update_book",
            "update",
            close({"id": ID, "title": TEXT, "pages": PAGES}, "id"),
            BOOK,
            NOT_FOUND,
            id_argument="id",
            id_result="id",
        ),
        define(
            "delete_book",
            "delete",
            close({"id": ID}, "id"),
            close({"deleted": {"type": "boolean"}}, "deleted"),
            NOT_FOUND,
            id_argument="id",
        ),
        define(
            "lend_book",
            "action",
            close({"id": ID}, "id"),
            BOOK,
            NOT_FOUND,
            NOT_SHELVED,
            id_argument="id",
            id_result="id",
        ),
    )
}

CONVENTION = Convention(
    "cv-1",
    {},
    "JSON. Errors: tool_unknown, missing_parameter, unknown_parameter, wrong_type, not_in_enum, out_of_range.",
)


def open_library(seed: int = 0, n_books: int = 8) -> Opening:
    """An opening state with some books."""
    rng = Random(seed)
    books = {}
    for number in range(n_books):
        key = f"B-{100 + 7 * number}"
        books[key] = {
            "id": key,
            "title": f"{rng.choice(['Rivers', 'Bridges', 'Mountains', 'Harbours'])} of volume {number}",
            "state": STATES[number % 3],
            "pages": rng.randrange(40, 900),
            "note": None,
            "created_at": "2023-01-02T10:00:00Z",
            "updated_at": "2023-02-02T10:00:00Z",
        }
    return Opening(digest("opening", seed), "inst-1", seed, NOW, {"name": "Ines"}, {"book": books}, {"book": 500})


class Step(NamedTuple):
    """One call of a test session."""

    tool: str
    arguments: dict[str, Json]


def execute(tables: dict[str, dict[str, Json]], counter: list[int], step: Step) -> Json:
    """The body that the library answers; raises RefusedError. Changes the tables."""
    books, given = tables["book"], step.arguments
    if step.tool == "create_book":
        counter[0] += 1
        stamp = f"2023-11-14T22:{counter[0] % 60:02d}:00Z"
        book = {"note": "none", **given, "id": f"B-{counter[0]}", "state": "shelved"}
        books[book["id"]] = {**book, "created_at": stamp, "updated_at": stamp}
        return books[book["id"]]
    if step.tool == "search_books":
        return search(books, given)
    if given["id"] not in books:
        raise RefusedError(NOT_FOUND)
    book = books[given["id"]]
    if step.tool == "delete_book":
        del books[given["id"]]
        return {"deleted": True}
    if step.tool == "update_book":
        books[given["id"]] = {**book, **given}
    if step.tool == "lend_book":
        if book["state"] != "shelved":
            raise RefusedError(NOT_SHELVED)
        books[given["id"]] = {**book, "state": "lent"}
    return books[given["id"]]


def search(books: dict[str, Json], given: dict[str, Json]) -> Json:
    """A page of books that pass the filters."""
    found = [item for item in books.values() if given.get("state") in (None, item["state"])]
    found = [item for item in found if item["pages"] >= given.get("min_pages", 0)]
    if key := given.get("sort", ""):
        found.sort(key=lambda item: item[key.lstrip("-")], reverse=key.startswith("-"))
    start = given.get("offset", 0)
    return {"books": found[start : start + given.get("limit", 5)], "total": len(found)}


def answer(tables: dict[str, dict[str, Json]], counter: list[int], step: Step) -> tuple[Call, Response]:
    """Call and response as the library records them."""
    text = orjson.dumps({"tool": step.tool, "arguments": step.arguments}).decode()
    definition = DEFINITIONS.get(step.tool)
    violations: tuple[Violation, ...] = (Violation("tool_unknown", "tool.unknown"),)
    status, message = 404, "No such tool."
    if definition:
        violations = faults(definition.parameters, step.arguments)
        status, message = 400, "The arguments do not fit."
    if not violations:
        try:
            body = execute(tables, counter, step)
            return Call(text, step.tool, step.arguments, "valid"), Response(True, orjson.dumps(body).decode(), body)
        except RefusedError as refusal:
            spec = refusal.args[0]
            violations = (Violation(spec.code, spec.fault, spec.field),)
            status, message = spec.status, spec.message.replace("{id}", str(step.arguments.get("id")))
    first = violations[0]
    error = ToolError(first.code, first.fault, status, message, first.field)
    shown = orjson.dumps({"error": {"code": first.code, "message": message}}).decode()
    return Call(text, step.tool, step.arguments, "invalid", violations), Response(False, shown, None, error)


def run(scene: Scene) -> list[Response]:
    """The responses of executing every call of the scene again, from its opening."""
    assert scene.opening is not None
    tables, counter = {"book": dict(scene.opening.tables["book"])}, [500]
    out = []
    for item in scene.session.exchanges:
        if scene.session.kind == "single":
            tables, counter = {"book": dict(scene.opening.tables["book"])}, [500]
        out.append(answer(tables, counter, Step(item.call.tool or "", item.call.arguments or {}))[1])
    return out


def play(*steps: tuple[str, dict[str, Json]], kind: Any = "session", truth: Any = "teacher", seed: int = 0) -> Scene:
    """A sound scene: the library's answers to these calls."""
    opening = open_library(seed)
    tables, counter = {"book": dict(opening.tables["book"])}, [500]
    exchanges = []
    for step in steps:
        if kind == "single":
            tables, counter = {"book": dict(opening.tables["book"])}, [500]
        call, response = answer(tables, counter, Step(*step))
        exchanges.append(Exchange(call, response, truth))
    session = Session(
        id=digest("session", seed, kind, truth, [list(step) for step in steps]),
        kind=kind,
        instance="inst-1",
        tools=tuple(DEFINITIONS),
        exchanges=tuple(exchanges),
        opening=opening.id,
        view={"mode": "full"},
    )
    instance = Instance("inst-1", "library", "culture", "desk", 0, CONVENTION, tuple(DEFINITIONS))
    return Scene(session, instance, DEFINITIONS, opening)


def render(scene: Scene) -> Row:
    """The scene as a row; the system text is the definitions and the opening tables."""
    shown = {name: item.parameters for name, item in scene.definitions.items()}
    state = scene.opening.tables if scene.opening else {}
    messages = [Message("system", orjson.dumps([list(shown), state]).decode(), False)]
    for item in scene.session.exchanges:
        messages.append(Message("user", item.call.text, False))
        messages.append(Message("assistant", item.response.text, item.train))
    labels = {item.call.label for item in scene.session.exchanges}
    return Row(
        id=scene.session.id,
        kind=scene.session.kind,
        domain=scene.instance.domain,
        category=scene.instance.category,
        service=scene.instance.service,
        tool_names=tuple(scene.definitions),
        truth=scene.session.exchanges[0].truth,
        label=labels.pop() if len(labels) == 1 else "mixed",
        messages=tuple(messages),
        tool_definitions=orjson.dumps(shown).decode(),
        meta=orjson.dumps({"instance": scene.instance.id}).decode(),
    )


def parse_call(_convention: Convention, text: str, definitions: dict[str, Definition]) -> Parsed:
    """The call in a text of the library's convention."""
    try:
        said = orjson.loads(text)
    except (orjson.JSONDecodeError, KeyError):
        return Parsed(None, None, None, Violation("unparsable", "call.unparsable"))
    fault = None if said["tool"] in definitions else Violation("tool_unknown", "tool.unknown")
    return Parsed(said["tool"], said["arguments"], None, fault)


def read_response(_convention: Convention, text: str, _definition: Definition) -> Response:
    """The response in a text of the library's convention."""
    try:
        said = orjson.loads(text)
    except orjson.JSONDecodeError as fault:
        raise RecordError(f"no JSON: {fault}") from fault
    if isinstance(said, dict) and "error" in said:
        return Response(False, text, None, ToolError(said["error"]["code"], "", 0, said["error"]["message"]))
    return Response(True, text, said)


REFEREES = Referees(parse_call, read_response, faults, run, lambda _source, _parameters, _arguments: None)


def alter(scene: Scene, at: int, change: Callable[[Exchange], Exchange]) -> Scene:
    """The scene with one exchange changed."""
    exchanges = list(scene.session.exchanges)
    exchanges[at] = change(exchanges[at])
    return replace(scene, session=replace(scene.session, exchanges=tuple(exchanges)))


def say(scene: Scene, at: int, body: Json) -> Scene:
    """The scene with another body, in record and text, at one exchange."""
    text = orjson.dumps(body).decode()
    return alter(scene, at, lambda item: replace(item, response=replace(item.response, body=body, text=text)))


def patch(scene: Scene, at: int, **fields: Json) -> Scene:
    """The scene with some fields of one body changed, in record and text."""
    return say(scene, at, {**scene.session.exchanges[at].response.body, **fields})
