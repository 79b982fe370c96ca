"""Calls as HTTP requests: a request line with path and query, headers, and a JSON body."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, unquote_plus

import orjson

from carg.errors import RecordError
from carg.records import Definition, Json
from carg.world.markup import child_of, coerce, item_of, spell, types_of, write_json

_REQUEST = re.compile(r"(GET|POST|PUT|PATCH|DELETE) (/[^\s?]*)(?:\?(\S*))?(?: HTTP/1\.1)?")
_HEADER = re.compile(r"[\w-]+: ?.*")
_QUERY_KEY = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_SAFE = "-_.~:,@"


def write_request(
    definition: Definition, arguments: Mapping[str, Json], headers: Mapping[str, str], spaced: bool
) -> str:
    """The request for a call: arguments fill the slots of the path, the rest goes into query or body."""
    method, path = definition.http
    rest = dict(arguments)
    for slot in _route(path).slots:
        if slot in rest:
            path = path.replace(f"{{{slot}}}", quote(spell(rest.pop(slot)), safe=_SAFE))
    query = ""
    if method in ("GET", "DELETE") and rest:
        query = "?" + "&".join(pair for key, item in rest.items() for pair in _pairs(quote(key, safe=""), item))
    lines = [f"{method} {path}{query}", *(f"{word}: {name}" for word, name in headers.items())]
    if query or not rest:
        return "\n".join(lines)
    return "\n".join([*lines, "Content-Type: application/json", "", write_json(rest, spaced)])


def _pairs(key: str, value: Json) -> list[str]:
    """The query pairs of one argument: `a[b]=1` for objects, `a=1&a=2` for lists, bare `a` for null, else JSON."""
    if value is None:
        return [key]
    if isinstance(value, dict) and value:
        return [pair for name, item in value.items() for pair in _pairs(f"{key}[{quote(name, safe='')}]", item)]
    plain = isinstance(value, list) and value and not any(isinstance(item, dict | list | None) for item in value)
    if plain and not (len(value) == 1 and isinstance(value[0], str) and value[0].startswith("[")):
        return [f"{key}={quote(spell(item), safe=_SAFE)}" for item in value]
    return [f"{key}={quote(spell(value), safe=_SAFE)}"]


class _Route(NamedTuple):
    pattern: re.Pattern[str]
    slots: tuple[str, ...]
    n_literal: int


@lru_cache(maxsize=4096)
def _route(path: str) -> _Route:
    parts = re.split(r"\{([^{}]*)\}", path)
    pattern = "([^/]*)".join(re.escape(part) for part in parts[::2])
    return _Route(re.compile(pattern), tuple(parts[1::2]), sum(len(part) for part in parts[::2]))


def read_request(text: str, definitions: Mapping[str, Definition]) -> tuple[str, dict[str, Json], dict[str, str]]:
    """Tool, arguments, and headers by lower-case name; the tool is "METHOD /path" where no definition has that route.

    Raises RecordError or orjson.JSONDecodeError when the text is no request.
    """
    head, _, body = text.partition("\n\n")
    first, *lines = head.split("\n")
    match = _REQUEST.fullmatch(first)
    if match is None or not all(_HEADER.fullmatch(line) for line in lines):
        raise RecordError("not an HTTP request")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    definition = _route_to(match[1], match[2], definitions)
    schema: Mapping[str, Any] = definition.parameters if definition else {}
    arguments = _read_path(match[2], definition) if definition else {}
    inner = orjson.loads(body) if body.strip() else {}
    for more in (_read_query(match[3] or "", schema), inner):
        if not isinstance(more, dict) or more.keys() & arguments.keys():
            raise RecordError("the body is no object, or an argument is given twice")
        arguments |= more
    return definition.name if definition else f"{match[1]} {match[2]}", arguments, headers


def _route_to(method: str, path: str, definitions: Mapping[str, Definition]) -> Definition | None:
    """The definition whose route fits, the one with most literal text first."""
    fits = [d for d in definitions.values() if d.http[:1] == (method,) and _route(d.http[1]).pattern.fullmatch(path)]
    return max(fits, key=lambda fit: _route(fit.http[1]).n_literal, default=None)


def _read_path(path: str, definition: Definition) -> dict[str, Json]:
    """The arguments in a path; a slot left as {name} is one that was not given."""
    route = _route(definition.http[1])
    match = route.pattern.fullmatch(path)
    pairs = zip(route.slots, match.groups() if match else (), strict=True)
    return {
        name: coerce(unquote(text), child_of(definition.parameters, name))
        for name, text in pairs
        if text != f"{{{name}}}"
    }


def _read_query(query: str, schema: Mapping[str, Any]) -> dict[str, Json]:
    grouped: dict[str, list[str | None]] = {}
    for pair in query.split("&") if query else ():
        key, sign, value = pair.partition("=")
        grouped.setdefault(key, []).append(unquote_plus(value) if sign else None)
    found: dict[str, Json] = {}
    for key, values in grouped.items():
        match = _QUERY_KEY.fullmatch(key)
        if match is None:
            raise RecordError(f"query key {key[:40]!r}")
        names = [unquote_plus(match[1]), *(unquote_plus(part[:-1]) for part in match[2].split("[")[1:])]
        place, inner = found, schema
        for name in names[:-1]:
            place, inner = place.setdefault(name, {}), child_of(inner, name)
            if not isinstance(place, dict):
                raise RecordError(f"query key {key[:40]!r} clashes with another")
        if names[-1] in place:
            raise RecordError(f"query key {key[:40]!r} clashes with another")
        place[names[-1]] = _from_query(values, child_of(inner, names[-1]))
    return found


def _from_query(values: list[str | None], schema: Mapping[str, Any]) -> Json:
    types, first = types_of(schema), values[0]
    if len(values) == 1:
        if first is None:
            return None
        if (first[:1] == "[" and "array" in types) or (first[:1] == "{" and "object" in types):
            return orjson.loads(first)
        if "array" not in types:
            return coerce(first, schema)
    return [None if text is None else coerce(text, item_of(schema, at)) for at, text in enumerate(values)]
