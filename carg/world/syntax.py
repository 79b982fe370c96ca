"""The text of calls: written under a convention, and read back from untrusted text without evaluating anything.

Reading gives back what was written, with these exceptions. XML, paths and query strings carry text only: a value that
is not of its parameter's type is read as the schema reads its text (5 for a string parameter is "5"), a text for a
parameter of several types is a string if one of them is, and XML cannot hold control characters. A path slot cannot
hold null, and a request whose path equals a more literal route of the same instance belongs to that one.
"""

from __future__ import annotations

import ast
import keyword
import re
import warnings
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, unquote_plus

import orjson

from carg.errors import RecordError
from carg.records import Convention, Definition, Json, Violation
from carg.world.conventions import auth_name
from carg.world.markup import (
    MAX_DEPTH,
    child_of,
    coerce,
    is_deep,
    item_of,
    read_members,
    read_xml,
    spell,
    types_of,
    write_xml,
)
from carg.world.wording import fault_code

MAX_CHARS = 200_000
"""Longer texts are refused before they are read."""

_REQUEST = re.compile(r"(GET|POST|PUT|PATCH|DELETE) (/[^\s?]*)(?:\?(\S*))?(?: HTTP/1\.1)?")
_REACT = re.compile(
    r"Action: *(?P<tool>[^\n]+)\n(?:(?P<word>[\w-]+): *(?P<name>[^\n]*)\n)?Action Input: *(?P<input>.*)", re.S
)
_QUERY_KEY = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_SAFE = "-_.~:,@"


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a text calls for. `fault` is call.unparsable (then all else is None), tool.unknown, or None."""

    tool: str | None
    arguments: dict[str, Json] | None
    credential: str | None
    fault: Violation | None


class _Raw(NamedTuple):
    tool: str
    arguments: dict[str, Json]
    credential: Json


def render_call(
    convention: Convention, definition: Definition, arguments: Mapping[str, Json], credential: str | None = None
) -> str:
    """The text of a call. `credential` (one line) goes where the convention's `auth` says; None is left out."""
    factors = convention.factors
    word = auth_name(factors)
    if credential is None or factors["auth"] == "none":
        beside = {}
    elif factors["auth"] == "argument":
        arguments, beside = {**arguments, word: credential}, {}
    else:
        beside = {word: credential}
    text = _WRITERS[factors["syntax"]](definition, dict(arguments), beside)
    return text


def parse_call(convention: Convention, text: str, definitions: Mapping[str, Definition]) -> Parsed:
    """What a text, from anywhere, calls for; `definitions` by presented name."""
    factors = convention.factors
    word = auth_name(factors)
    try:
        raw = _read(factors["syntax"], text, word, definitions)
    except RecordError:
        code = fault_code(factors, "call.unparsable")
        return Parsed(None, None, None, Violation(code, "call.unparsable"))
    arguments, credential = raw.arguments, raw.credential
    if factors["auth"] == "argument" and word in arguments:
        arguments = dict(arguments)
        credential = arguments.pop(word)
    if factors["auth"] == "none" or not isinstance(credential, str):
        credential = None
    known = raw.tool in definitions
    fault = None if known else Violation(fault_code(factors, "tool.unknown"), "tool.unknown")
    return Parsed(raw.tool, arguments, credential, fault)


def spoil_call(text: str, rng: Random) -> str:
    """A text close to `text` that no syntax can read: cut, a bracket lost, wrong quotes, or wrapped in prose."""
    for _ in range(20):
        spoiled = rng.choice(_SPOILERS)(text, rng)
        if spoiled.strip() and not any(_is_readable(syntax, spoiled) for syntax in _READERS):
            return spoiled
    return f"I would call this tool: {text}"


def _read(syntax: str, text: str, word: str, definitions: Mapping[str, Definition]) -> _Raw:
    if len(text) > MAX_CHARS:
        raise RecordError(f"call longer than {MAX_CHARS} characters")
    try:
        text.encode()
        raw = _READERS[syntax](text.strip(), word, definitions)
    except (orjson.JSONDecodeError, UnicodeEncodeError) as fault:
        raise RecordError(f"call that cannot be read: {fault}") from fault
    if not isinstance(raw.arguments, dict) or is_deep(raw.arguments):
        raise RecordError(f"arguments are no object, or deeper than {MAX_DEPTH}")
    return raw


def _is_readable(syntax: str, text: str) -> bool:
    try:
        _read(syntax, text, "", {})
    except RecordError:
        return False
    return True


def _dumps(value: Json) -> str:
    return orjson.dumps(value).decode()


def _write_openai(definition: Definition, arguments: dict[str, Json], beside: dict[str, str]) -> str:
    return _dumps({"name": definition.name, **beside, "arguments": arguments})


def _read_openai(text: str, word: str, _: Mapping[str, Definition]) -> _Raw:
    return _named(orjson.loads(text), word, None)


def _named(call: Json, word: str, beside: Json) -> _Raw:
    """Tool and arguments of an object; arguments may be missing, null, or an object as JSON text."""
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        raise RecordError("no object with a `name`")
    arguments = call.get("arguments") or {}
    if isinstance(arguments, str):
        arguments = orjson.loads(arguments)
    place = beside if beside is not None else call
    return _Raw(call["name"], arguments, place.get(word) if isinstance(place, dict) else None)


def _write_mcp(definition: Definition, arguments: dict[str, Json], beside: dict[str, str]) -> str:
    params: dict[str, Json] = {"name": definition.name, "arguments": arguments}
    if beside:
        params["_meta"] = beside
    # An id that varies without a counter: the same call always gives the same text.
    number = zlib.crc32(orjson.dumps(params)) % 99 + 1
    return _dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params})


def _read_mcp(text: str, word: str, _: Mapping[str, Definition]) -> _Raw:
    call = orjson.loads(text)
    if not isinstance(call, dict) or call.get("method") != "tools/call" or not isinstance(call.get("params"), dict):
        raise RecordError("not a tools/call request")
    return _named(call["params"], word, call["params"].get("_meta", {}))


def _write_react(definition: Definition, arguments: dict[str, Json], beside: dict[str, str]) -> str:
    lines = [f"Action: {definition.name}", *(f"{word}: {name}" for word, name in beside.items())]
    return "\n".join([*lines, f"Action Input: {_dumps(arguments)}"])


def _read_react(text: str, word: str, _: Mapping[str, Definition]) -> _Raw:
    match = _REACT.fullmatch(text)
    if match is None:
        raise RecordError("no Action and Action Input")
    credential = match["name"].strip() if match["word"] == word and match["name"] else None
    return _Raw(match["tool"].strip(), orjson.loads(match["input"]), credential)


def _write_python(definition: Definition, arguments: dict[str, Json], beside: dict[str, str]) -> str:
    plain = {key: item for key, item in arguments.items() if _is_keyword_argument(key)}
    parts = [f"{key}={_literal(item)}" for key, item in plain.items()]
    if len(plain) < len(arguments):
        parts.append(f"**{_literal({key: item for key, item in arguments.items() if key not in plain})}")
    return f"{definition.name}({', '.join(parts)})"


def _is_keyword_argument(key: str) -> bool:
    # Python folds identifiers outside ASCII, so they would not come back as they were.
    return key.isascii() and key.isidentifier() and not keyword.iskeyword(key)


def _literal(value: Json) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(key)}: {_literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_literal(item) for item in value) + "]"
    return _dumps(value) if isinstance(value, str) else repr(value)


def _read_python(text: str, _word: str, _: Mapping[str, Definition]) -> _Raw:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as fault:
        raise RecordError(f"not a Python call: {fault}") from fault
    if not isinstance(call, ast.Call) or call.args:
        raise RecordError("not one call with keyword arguments")
    arguments: dict[str, Json] = {}
    for item in call.keywords:
        value = _value(item.value, MAX_DEPTH)
        members = value if item.arg is None else {item.arg: value}
        if not isinstance(members, dict) or members.keys() & arguments.keys():
            raise RecordError("an argument given twice, or ** of no dict")
        arguments |= members
    return _Raw(_dotted(call.func), arguments, None)


def _dotted(node: ast.expr) -> str:
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise RecordError("not a tool's name")
    return ".".join([node.id, *reversed(parts)])


def _value(node: ast.expr, depth: int) -> Json:
    """The value of a literal; whole numbers beyond 64 bits become floats, as in JSON."""
    if depth < 0:
        raise RecordError("arguments nested too deeply")
    if isinstance(node, ast.List):
        return [_value(item, depth - 1) for item in node.elts]
    if isinstance(node, ast.Dict):
        keys = [None if key is None else _value(key, 0) for key in node.keys]
        if not all(isinstance(key, str) for key in keys) or len(set(keys)) < len(keys):
            raise RecordError("keys must be strings, each once")
        return dict(zip(keys, (_value(item, depth - 1) for item in node.values), strict=True))
    sign = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
    inner = node.operand if isinstance(node, ast.UnaryOp) and sign else node
    value = inner.value if isinstance(inner, ast.Constant) else ...
    if sign and type(value) not in (int, float):
        raise RecordError("minus before what is no number")
    value = -value if sign else value  # type: ignore[operator]
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**64:
        value = float(value) if abs(value) < 10**308 else ...
    if value is None or isinstance(value, bool | int | float | str):
        # orjson refuses lone surrogates, and writes infinity as null.
        if isinstance(value, str) and not value.isascii():
            value.encode()
        if value in (float("inf"), float("-inf")):
            raise RecordError("a number too large")
        return value
    raise RecordError("only literals can be given")


def _write_xml(definition: Definition, arguments: dict[str, Json], beside: dict[str, str]) -> str:
    attributes = {"tool": definition.name, **beside}
    if arguments:
        return write_xml(arguments, "call", attributes=attributes)
    return write_xml("", "call", attributes=attributes)


def _read_xml(text: str, word: str, definitions: Mapping[str, Definition]) -> _Raw:
    root = read_xml(text)
    tool = root.get("tool")
    if root.tag != "call" or tool is None or (root.text or "").strip():
        raise RecordError("no <call> with a tool")
    schema = definitions[tool].parameters if tool in definitions else {}
    return _Raw(tool, read_members(root, schema), root.get(word) if word else None)


def _write_http(definition: Definition, arguments: dict[str, Json], beside: dict[str, str]) -> str:
    method, path = definition.http
    rest = dict(arguments)
    for slot in _route(path).slots:
        if slot in rest:
            path = path.replace(f"{{{slot}}}", quote(_as_text(rest.pop(slot)), safe=_SAFE))
    query = ""
    if method in ("GET", "DELETE") and rest:
        query = "?" + "&".join(pair for key, item in rest.items() for pair in _pairs(quote(key, safe=""), item))
    lines = [f"{method} {path}{query}", *(f"{word}: {name}" for word, name in beside.items())]
    if query or not rest:
        return "\n".join(lines)
    return "\n".join([*lines, "Content-Type: application/json", "", _dumps(rest)])


def _as_text(value: Json) -> str:
    return spell(value) if not isinstance(value, dict | list) else _dumps(value)


def _pairs(key: str, value: Json) -> list[str]:
    """The query pairs of one argument: `a[b]=1` for objects, `a=1&a=2` for lists, bare `a` for null; JSON for the rest."""
    if value is None:
        return [key]
    if isinstance(value, dict) and value:
        return [pair for name, item in value.items() for pair in _pairs(f"{key}[{quote(name, safe='')}]", item)]
    plain = isinstance(value, list) and value and not any(isinstance(item, dict | list | None) for item in value)
    if plain and not (len(value) == 1 and isinstance(value[0], str) and value[0].startswith("[")):
        return [f"{key}={quote(_as_text(item), safe=_SAFE)}" for item in value]
    return [f"{key}={quote(_as_text(value), safe=_SAFE)}"]


class _Route(NamedTuple):
    pattern: re.Pattern[str]
    slots: tuple[str, ...]
    n_literal: int


@lru_cache(maxsize=4096)
def _route(path: str) -> _Route:
    parts = re.split(r"\{([^{}]*)\}", path)
    pattern = "([^/]*)".join(re.escape(part) for part in parts[::2])
    return _Route(re.compile(pattern), tuple(parts[1::2]), sum(len(part) for part in parts[::2]))


def _read_http(text: str, word: str, definitions: Mapping[str, Definition]) -> _Raw:
    head, _, body = text.partition("\n\n")
    first, *headers = head.split("\n")
    match = _REQUEST.fullmatch(first)
    if match is None or not all(re.match(r"[\w-]+: ?", line) for line in headers):
        raise RecordError("not an HTTP request")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in headers)}
    method, path, query = match[1], match[2], match[3] or ""
    best, slots = None, ()
    for definition in definitions.values():
        route = _route(definition.http[1]) if definition.http and definition.http[0] == method else None
        found = route.pattern.fullmatch(path) if route else None
        if found and (best is None or route.n_literal > _route(best.http[1]).n_literal):
            best, slots = definition, found.groups()
    schema: Mapping[str, Any] = best.parameters if best else {}
    arguments: dict[str, Json] = {}
    for name, text_ in zip(_route(best.http[1]).slots if best else (), slots, strict=True):
        if text_ != f"{{{name}}}":
            arguments[name] = coerce(unquote(text_), child_of(schema, name))
    arguments |= _read_query(query, schema)
    inner = orjson.loads(body) if body.strip() else {}
    if not isinstance(inner, dict) or inner.keys() & arguments.keys():
        raise RecordError("the body is no object, or repeats the path")
    return _Raw(best.name if best else f"{method} {path}", arguments | inner, fields.get(word.lower()))


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


def _cut(text: str, rng: Random) -> str:
    return text[: rng.randint(1 + len(text) // 3, max(1 + len(text) // 3, len(text) - 1))]


def _lose_bracket(text: str, rng: Random) -> str:
    places = [at for at, char in enumerate(text) if char in "()[]{}<>"]
    at = rng.choice(places) if places else len(text) - 1
    return text[:at] + text[at + 1 :]


def _misquote(text: str, rng: Random) -> str:
    return text.replace('"', "'")


def _wrap(text: str, rng: Random) -> str:
    head = rng.choice(("Sure, I will call the tool now:\n", "Thought: the tool is needed here.\n", "```\n"))
    return f"{head}{text}" + ("\n```" if head == "```\n" else "")


def _say(text: str, rng: Random) -> str:
    return rng.choice(("I need more information before I can call this.", "Please run the tool for me", "(no call)"))


def _double_comma(text: str, rng: Random) -> str:
    return text.replace(",", ",,", 1) if "," in text else text[:-1] + "," + text[-1:]


_SPOILERS: tuple[Callable[[str, Random], str], ...] = (_cut, _cut, _lose_bracket, _misquote, _wrap, _say, _double_comma)
_WRITERS: dict[str, Callable[[Definition, dict[str, Json], dict[str, str]], str]] = {
    "openai": _write_openai,
    "mcp": _write_mcp,
    "http": _write_http,
    "python": _write_python,
    "xml": _write_xml,
    "react": _write_react,
}
_READERS: dict[str, Callable[[str, str, Mapping[str, Definition]], _Raw]] = {
    "openai": _read_openai,
    "mcp": _read_mcp,
    "http": _read_http,
    "python": _read_python,
    "xml": _read_xml,
    "react": _read_react,
}
