"""The text of calls: written under a convention, and read back from untrusted text without evaluating anything.

Reading gives back what was written, with these exceptions. XML, paths and query strings carry text only: a value that
is not of its parameter's type is read as the schema reads its text (5 for a string parameter is "5"), a text for a
parameter of several types is a string if one of them is, and XML cannot hold control characters. A path slot cannot
hold null, and a request whose path equals a more literal route of the same instance belongs to that one.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

import orjson

from carg.errors import RecordError
from carg.records import Convention, Definition, Json, Violation
from carg.world.conventions import auth_name
from carg.world.http_text import read_request, write_request
from carg.world.markup import MAX_DEPTH, is_deep, read_members, read_xml, write_json, write_xml
from carg.world.python_text import read_python, write_python
from carg.world.wording import fault_code

MAX_CHARS = 200_000
"""Longer texts are refused before they are read."""

_REACT = re.compile(
    r"Action: *(?P<tool>[^\n]+)\n(?:(?P<word>[\w-]+): *(?P<name>[^\n]*)\n)?Action Input: *(?P<input>.*)", re.S
)


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
    beside = {word: credential} if credential is not None and factors["auth"] == "header" else {}
    if credential is not None and factors["auth"] == "argument":
        arguments = {**arguments, word: credential}
    return _WRITERS[factors["syntax"]](definition, dict(arguments), beside, factors["json_spacing"] == "spaced")


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


def _write_openai(definition: Definition, arguments: dict[str, Json], beside: dict[str, str], spaced: bool) -> str:
    return write_json({"name": definition.name, **beside, "arguments": arguments}, spaced)


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


def _write_mcp(definition: Definition, arguments: dict[str, Json], beside: dict[str, str], spaced: bool) -> str:
    params: dict[str, Json] = {"name": definition.name, "arguments": arguments}
    if beside:
        params["_meta"] = beside
    # An id that varies without a counter: the same call always gives the same text.
    number = zlib.crc32(orjson.dumps(params)) % 99 + 1
    return write_json({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}, spaced)


def _read_mcp(text: str, word: str, _: Mapping[str, Definition]) -> _Raw:
    call = orjson.loads(text)
    if not isinstance(call, dict) or call.get("method") != "tools/call" or not isinstance(call.get("params"), dict):
        raise RecordError("not a tools/call request")
    return _named(call["params"], word, call["params"].get("_meta", {}))


def _write_react(definition: Definition, arguments: dict[str, Json], beside: dict[str, str], spaced: bool) -> str:
    lines = [f"Action: {definition.name}", *(f"{word}: {name}" for word, name in beside.items())]
    return "\n".join([*lines, f"Action Input: {write_json(arguments, spaced)}"])


def _read_react(text: str, word: str, _: Mapping[str, Definition]) -> _Raw:
    match = _REACT.fullmatch(text)
    if match is None:
        raise RecordError("no Action and Action Input")
    credential = match["name"].strip() if match["word"] == word and match["name"] else None
    return _Raw(match["tool"].strip(), orjson.loads(match["input"]), credential)


def _write_xml(definition: Definition, arguments: dict[str, Json], beside: dict[str, str], _spaced: bool) -> str:
    return write_xml(arguments or "", "call", attributes={"tool": definition.name, **beside})


def _read_xml(text: str, word: str, definitions: Mapping[str, Definition]) -> _Raw:
    root = read_xml(text)
    tool = root.get("tool")
    if root.tag != "call" or tool is None or (root.text or "").strip():
        raise RecordError("no <call> with a tool")
    schema = definitions[tool].parameters if tool in definitions else {}
    return _Raw(tool, read_members(root, schema), root.get(word) if word else None)


def _read_http(text: str, word: str, definitions: Mapping[str, Definition]) -> _Raw:
    tool, arguments, headers = read_request(text, definitions)
    return _Raw(tool, arguments, headers.get(word.lower()))


def _cut(text: str, rng: Random) -> str:
    return text[: rng.randint(1 + len(text) // 3, max(1 + len(text) // 3, len(text) - 1))]


def _lose_bracket(text: str, rng: Random) -> str:
    places = [at for at, char in enumerate(text) if char in "()[]{}<>"]
    at = rng.choice(places) if places else len(text) - 1
    return text[:at] + text[at + 1 :]


def _wrap(text: str, rng: Random) -> str:
    head = rng.choice(("Sure, I will call the tool now:\n", "Thought: the tool is needed here.\n", "```\n"))
    return f"{head}{text}" + ("\n```" if head == "```\n" else "")


_TALK = ("I need more information before I can call this.", "Please run the tool for me", "(no call)")
_SPOILERS: tuple[Callable[[str, Random], str], ...] = (
    _cut,
    _cut,
    _lose_bracket,
    lambda text, _: text.replace('"', "'"),
    _wrap,
    lambda _, rng: rng.choice(_TALK),
    lambda text, _: text.replace(",", ",,", 1) if "," in text else f"{text[:-1]},{text[-1:]}",
)
_WRITERS: dict[str, Callable[[Definition, dict[str, Json], dict[str, str], bool], str]] = {
    "openai": _write_openai,
    "mcp": _write_mcp,
    "http": write_request,
    "python": lambda definition, arguments, _beside, _spaced: write_python(definition.name, arguments),
    "xml": _write_xml,
    "react": _write_react,
}
_READERS: dict[str, Callable[[str, str, Mapping[str, Definition]], _Raw]] = {
    "openai": _read_openai,
    "mcp": _read_mcp,
    "http": _read_http,
    "python": lambda text, _word, _definitions: _Raw(*read_python(text), None),
    "xml": _read_xml,
    "react": _read_react,
}
