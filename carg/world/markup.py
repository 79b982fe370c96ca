"""JSON values as XML and as indented text, and back: the two media beside JSON, and what XML and HTTP calls carry.

XML and query strings hold text only, so reading takes a JSON Schema and gives each text the type that the schema
expects (`coerce`); a text that does not fit stays a string, so that the fault shows. Indented text tells its types by
itself: strings that could be mistaken for something else are quoted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

import orjson

from carg.errors import RecordError
from carg.records import Json

MAX_DEPTH = 32
"""Deeper values are refused: no tool needs them, and recursion stays far from the interpreter's limit."""

_LITERAL = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null", re.ASCII)
_TAG = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_PLAIN = re.compile(r'(?![\s"\[{\-])[^\x00-\x1f]*[^\s:]')
_KEY_LINE = re.compile(r'("(?:[^"\\]|\\.)*"|[^\W\d][\w.\-]*):(?: (.*))?', re.DOTALL)
_PLAIN_KEY = re.compile(r"[^\W\d][\w.\-]*")
_FORBIDDEN = [*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF]
_ESCAPES = {ord(c): f"&#{ord(c)};" for c in "\r\n\t"} | dict.fromkeys(_FORBIDDEN, "�")
_ESCAPES |= {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord('"'): "&quot;"}
_IN_TEXT = {code: text for code, text in _ESCAPES.items() if code not in (10, 9, 34)}


def is_deep(value: Json, limit: int = MAX_DEPTH) -> bool:
    """Whether lists and objects stand inside each other more than `limit` times."""
    if not isinstance(value, dict | list):
        return False
    items = value.values() if isinstance(value, dict) else value
    return limit <= 0 or any(is_deep(item, limit - 1) for item in items)


def types_of(schema: Mapping[str, Any]) -> tuple[str, ...]:
    """The JSON types that a schema allows by type, enum, const, anyOf and oneOf; empty when it does not say."""
    if found := schema.get("type"):
        return (found,) if isinstance(found, str) else tuple(found)
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    if values:
        return tuple(dict.fromkeys(type_name(value) for value in values))
    return tuple(name for branch in _branches(schema) for name in types_of(branch))


def child_of(schema: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The schema of the property `key`, or an empty one."""
    properties = schema.get("properties", {})
    if key in properties:
        return _mapping(properties[key])
    for branch in _branches(schema):
        if found := child_of(branch, key):
            return found
    return _mapping(schema.get("additionalProperties"))


def item_of(schema: Mapping[str, Any], index: int = 0) -> Mapping[str, Any]:
    """The schema of the item at `index` of an array, or an empty one."""
    firsts = schema.get("prefixItems", [])
    if index < len(firsts):
        return _mapping(firsts[index])
    if "items" in schema:
        return _mapping(schema["items"])
    return next((found for branch in _branches(schema) if (found := item_of(branch, index))), {})


def type_name(value: Json) -> str:
    """The JSON Schema name of a value's type; whole floats are "number"."""
    if value is None:
        return "null"
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names[type(value)]


def coerce(text: str, schema: Mapping[str, Any]) -> Json:
    """What a bare text means under a schema: a string where strings are allowed or nothing is said, else the number,
    boolean or null it spells; the text itself where it spells none that fits."""
    types = types_of(schema)
    if not types or "string" in types:
        return text
    value = _literal(text)
    if value is not text:
        name = type_name(value)
        if name in types or (name in ("integer", "number") and ("number" in types or "integer" in types)):
            return value
    if text == "" and "array" in types:
        return []
    return {} if text == "" and "object" in types else text


def _literal(text: str) -> Json:
    """The number, boolean or null that a text spells, or the text itself (also for numbers beyond a double)."""
    try:
        return orjson.loads(text) if _LITERAL.fullmatch(text) else text
    except orjson.JSONDecodeError:
        return text


def spell(value: Json) -> str:
    """A value as bare text: strings as they are, others as JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def write_json(value: Json, spaced: bool) -> str:
    """JSON on one line, with or without a space after commas and colons."""
    return json.dumps(value, ensure_ascii=False) if spaced else orjson.dumps(value).decode()


def write_xml(value: Json, tag: str, *, attributes: Mapping[str, str] | None = None, indented: bool = False) -> str:
    """An element that holds `value`; list items are `<item>`, null is nil="true", an empty list is type="array".

    Characters that XML 1.0 cannot hold become U+FFFD.
    """
    return _element(tag, attributes or {}, value, "\n" if indented else "")


def read_xml(text: str) -> ElementTree.Element:
    """The root element. Raises RecordError where the text is not well-formed, or has a DOCTYPE, CDATA or comment."""
    if "<!" in text:
        raise RecordError("XML declarations, comments and CDATA are not accepted", "send elements and text only")
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as fault:
        raise RecordError(f"not well-formed XML: {fault}") from fault


def read_element(element: ElementTree.Element, schema: Mapping[str, Any], depth: int = 0) -> Json:
    """The value that an element holds, its texts read under `schema`. Raises RecordError on mixed content."""
    if depth > MAX_DEPTH:
        raise RecordError("XML nested too deeply")
    if element.get("nil") == "true":
        return None
    if not len(element):
        empty: Json = {"array": [], "object": {}}.get(element.get("type", "")) if not element.text else None
        return coerce(element.text or "", schema) if empty is None else empty
    if any((text or "").strip() for text in (element.text, *(child.tail for child in element))):
        raise RecordError(f"text and elements mixed in <{element.tag}>")
    if all(child.tag == "item" for child in element):
        return [read_element(child, item_of(schema, at), depth + 1) for at, child in enumerate(element)]
    return read_members(element, schema, depth)


def read_members(element: ElementTree.Element, schema: Mapping[str, Any], depth: int = 0) -> dict[str, Json]:
    """The children of an element as an object. Raises RecordError where a name comes twice."""
    found: dict[str, Json] = {}
    for child in element:
        key = child.get("name", "arg") if child.tag == "arg" else child.tag
        if key in found:
            raise RecordError(f"<{key}> comes twice")
        found[key] = read_element(child, child_of(schema, key), depth + 1)
    return found


def write_text(value: Json) -> str:
    """`key: value` lines, nested by two spaces, list items after `- `; strings quoted only where they must be."""
    return "\n".join(_lines(value))


def read_text(text: str) -> Json:
    """The value that `write_text` wrote. Raises RecordError where the lines do not nest."""
    return _read_block(text.split("\n"), 0)


def _branches(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [item for word in ("anyOf", "oneOf") for item in schema.get(word, ()) if isinstance(item, dict)]


def _mapping(schema: object) -> Mapping[str, Any]:
    return schema if isinstance(schema, dict) else {}


def _element(tag: str, attributes: Mapping[str, str], value: Json, gap: str) -> str:
    head = tag + "".join(f' {key}="{text.translate(_ESCAPES)}"' for key, text in attributes.items())
    if value is None:
        return f'<{head} nil="true"/>'
    if not isinstance(value, dict | list):
        return f"<{head}>{spell(value).translate(_IN_TEXT)}</{tag}>"
    if not value:
        return f'<{head} type="{type_name(value)}"/>'
    inner = gap + "  " if gap else ""
    members = value.items() if isinstance(value, dict) else [("item", item) for item in value]
    named = isinstance(value, dict)
    parts = [_element(*_tag(key) if named else ("item", {}), item, inner) for key, item in members]
    return f"<{head}>{inner}{inner.join(parts)}{gap}</{tag}>"


def _tag(key: str) -> tuple[str, dict[str, str]]:
    return (key, {}) if _TAG.fullmatch(key) and key != "item" else ("arg", {"name": key})


def _lines(value: Json) -> list[str]:
    if not isinstance(value, dict | list) or not value:
        return [_scalar(value)]
    if isinstance(value, list):
        return [("  " if at else "- ") + line for item in value for at, line in enumerate(_lines(item))]
    lines = []
    for key, item in value.items():
        name = key if _PLAIN_KEY.fullmatch(key) else orjson.dumps(key).decode()
        if isinstance(item, dict | list) and item:
            lines += [f"{name}:", *("  " + line for line in _lines(item))]
        else:
            lines.append(f"{name}: {_scalar(item)}")
    return lines


def _scalar(value: Json) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and ": " not in value and not _LITERAL.fullmatch(value):
        return value
    return orjson.dumps(value).decode()


def _read_block(lines: list[str], depth: int) -> Json:
    if depth > MAX_DEPTH:
        raise RecordError("text nested too deeply")
    if lines[0].startswith("- "):
        return [_read_block([head[2:], *rest], depth + 1) for head, rest in _chunks(lines, "- ")]
    if not _KEY_LINE.fullmatch(lines[0]):
        if len(lines) > 1:
            raise RecordError(f"not a `key: value` line: {lines[0][:60]!r}")
        return _read_scalar(lines[0])
    found: dict[str, Json] = {}
    for head, rest in _chunks(lines, ""):
        match = _KEY_LINE.fullmatch(head)
        if match is None or (match[2] is not None and rest):
            raise RecordError(f"not a `key: value` line: {head[:60]!r}")
        key = _read_scalar(match[1]) if match[1].startswith('"') else match[1]
        if match[2] is None and not rest:
            raise RecordError(f"nothing under {key!r}")
        found[key] = _read_scalar(match[2]) if match[2] is not None else _read_block(rest, depth + 1)
    return found


def _chunks(lines: list[str], mark: str) -> list[tuple[str, list[str]]]:
    """Each line at the margin with the lines indented under it."""
    chunks: list[tuple[str, list[str]]] = []
    for line in lines:
        if line.startswith("  ") and chunks:
            chunks[-1][1].append(line[2:])
        elif line.startswith(mark) and not line.startswith(" "):
            chunks.append((line, []))
        else:
            raise RecordError(f"line out of place: {line[:60]!r}")
    return chunks


def _read_scalar(text: str) -> Json:
    if text in ("[]", "{}") or text.startswith('"') or _LITERAL.fullmatch(text):
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError as fault:
            raise RecordError(f"broken quotes in {text[:60]!r}") from fault
    return text
