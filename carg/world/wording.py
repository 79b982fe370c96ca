"""How a tool answers under a convention: bodies in their envelope, errors in their shape and words, both read back.

The factors that this module reads are drawn and explained in `conventions`. What a directive makes of a response is
in `directives`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from carg.errors import RecordError
from carg.records import Convention, Definition, Json, Response, ToolError, Violation, digest
from carg.world.markup import read_element, read_text, read_xml, spell, type_name, write_json, write_text, write_xml

WORD_FACTORS = {
    "schema.missing": "words_missing",
    "schema.unknown": "words_unknown",
    "schema.type": "words_type",
    "schema.enum": "words_enum",
    "schema.range": "words_range",
    "schema.format": "words_format",
    "state.not_found": "words_not_found",
    "state.forbidden": "words_forbidden",
    "unsigned": "words_unsigned",
    "tool.unknown": "words_unknown_tool",
    "call.unparsable": "words_unparsable",
}
"""Fault class -> the factor that holds its template; "unsigned" is state.forbidden for want of a credential."""

_CODES = {
    "schema.missing": "missing_{noun}",
    "schema.unknown": "unknown_{noun}",
    "schema.type": "wrong_type",
    "schema.enum": "value_not_allowed",
    "schema.range": "out_of_range",
    "schema.format": "bad_format",
    "state.not_found": "not_found",
    "state.forbidden": "forbidden",
    "unsigned": "not_authenticated",
    "tool.unknown": "unknown_tool",
    "call.unparsable": "malformed_call",
}
_STATUS = {"state.not_found": 404, "state.forbidden": 403, "unsigned": 401, "tool.unknown": 404, "call.unparsable": 400}
_PHRASES = {
    200: "OK",
    201: "Created",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
    410: "Gone",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
"""Written out, for the standard library's own table changes with its version."""

_BOUNDS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "greater than {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} characters long",
    "maxLength": "at most {} characters long",
    "minItems": "a list of at least {} items",
    "maxItems": "a list of at most {} items",
    "minProperties": "an object of at least {} keys",
    "maxProperties": "an object of at most {} keys",
    "uniqueItems": "a list without repeats",
}
PAYLOAD = {"data": "data", "result_status": "result", "ok_flag": "payload"}
SUCCESS: dict[str, dict[str, Json]] = {"data": {}, "result_status": {"status": "ok"}, "ok_flag": {"ok": True}}
FAILURE: dict[str, dict[str, Json]] = {"result_status": {"status": "error"}, "ok_flag": {"ok": False}}
"""By envelope: the key of the body, and the flags beside it in successes and in errors."""
_PARTS = {"code": "code", "message": "message", "field": "field"}
SHAPES: dict[str, dict[str, Json]] = {
    "code_message": {"error": _PARTS},
    "errors_list": {"errors": [_PARTS]},
    "flat": {"error": "code", "message": "message", "field": "field"},
    "problem_json": {"type": "type", "title": "title", "status": "status", "detail": "message"}
    | {"code": "code", "field": "field"},
}
"""Errors that are JSON: where each part stands. All that writes, reads or decodes an error follows this table."""
_MCP = ("mcp_content", "structured")
_SLOT = re.compile(r"\{(\w+)\}")
_LINE = re.compile(r"(?:Error (?P<status>\d+) )?(?P<code>[^:\[\]]+?)(?: \[(?P<field>[^\]]*)\])?: (?P<message>.*)", re.S)
_STATUS_LINE = re.compile(r"HTTP/1\.1 (\d{3}) [^\n]*\n\n")


def style_code(convention: Convention, code: str) -> str:
    """A snake_case error code in the convention's style: hive_not_active, HIVE_NOT_ACTIVE, E4127 hive_not_active..."""
    return _style(convention.factors, code)


def fault_code(factors: Mapping[str, Json], fault: str) -> str:
    """The code, styled, that stands for a class of faults that no tool documents itself (see WORD_FACTORS)."""
    single = factors["schema_codes"] == "single" and fault.startswith("schema.")
    code = "invalid_{noun}" if single else _CODES[fault]
    return _style(factors, code.replace("{noun}", factors["noun"]))


def fault_status(factors: Mapping[str, Json], fault: str) -> int:
    """The HTTP status of such a class."""
    return _STATUS.get(fault) or int(factors["schema_status"])


def template(factors: Mapping[str, Json], fault: str) -> str:
    """The words for a class of faults with the convention's noun, quotes and full stop, `{...}` where values go."""
    quote, noun = factors["quote"], factors["noun"]

    def put(slot: re.Match[str]) -> str:
        if slot[1] == "noun":
            return str(noun)
        return f"{quote}{slot[0]}{quote}" if slot[1] in ("field", "id", "tool", "actor") else slot[0]

    return _SLOT.sub(put, factors[WORD_FACTORS[fault]]) + str(factors["full_stop"])


def schema_error(convention: Convention, violation: Violation, *, detail: Mapping[str, Json]) -> ToolError:
    """The error for a violation that no tool documents itself: schema.*, call.unparsable, tool.unknown, state.not_found
    and state.forbidden. A code that the violation already has is kept.

    `detail` holds what the words name: `allowed` (values), `expected` (type or types), `got` (the value), `keyword` and
    `limit` (a bound), `format`, `resource`, `id`, `tool`, `actor` (None: the call names nobody, status 401).
    """
    factors, fault = convention.factors, violation.fault
    fault = "unsigned" if fault == "state.forbidden" and not detail.get("actor") else fault
    names = {key: str(detail[key]) for key in ("format", "resource", "id", "tool", "actor") if key in detail}
    if "got" in detail:
        names |= {"value": orjson.dumps(detail["got"]).decode(), "type": type_name(detail["got"])}
    if "allowed" in detail:
        names["allowed"] = _enumerate(detail["allowed"], factors["allowed_style"])
    if "expected" in detail:
        expected = detail["expected"]
        names["expected"] = expected if isinstance(expected, str) else " or ".join(expected)
    if "keyword" in detail:
        names["bound"] = _BOUNDS[detail["keyword"]].replace("{}", spell(detail.get("limit")))
    names["field"] = violation.field or ""
    message = _SLOT.sub(lambda slot: names.get(slot[1], ""), template(factors, fault))
    code = violation.code or fault_code(factors, fault)
    return ToolError(code, violation.fault, fault_status(factors, fault), message, violation.field)


def answer(convention: Convention, definition: Definition, body: Json) -> Response:
    """The response that carries `body`; its `body` is what an agent reads, without nulls where they are omitted."""
    return Response(True, render_body(convention, definition, body), _shown(convention.factors, body))


def refuse(convention: Convention, error: ToolError) -> Response:
    """The response that carries an error."""
    return Response(False, render_error(convention, error), None, error)


def render_body(convention: Convention, definition: Definition, body: Json) -> str:
    """A success exactly as an agent sees it: nulls dropped where the convention omits them, envelope, medium."""
    factors = convention.factors
    body, envelope, media = _shown(factors, body), factors["envelope"], _medium(factors, definition)
    if envelope == "mcp_content":
        text = _write(factors, media, body)
        return _write(factors, "json", {"content": [{"type": "text", "text": text}], "isError": False})
    if envelope == "structured":
        return _write(factors, "json", {"structuredContent": body, "isError": False})
    tree = {**SUCCESS[envelope], PAYLOAD[envelope]: body} if envelope in PAYLOAD else body
    return _status_line(factors, 201 if definition.effect == "create" else 200) + _write(factors, media, tree)


def render_error(convention: Convention, error: ToolError) -> str:
    """An error exactly as an agent sees it."""
    factors, shape = convention.factors, convention.factors["error_shape"]
    where = f" [{error.field}]" if error.field is not None else ""
    line = f"{error.code}{where}: {error.message}"
    if shape == "mcp_is_error":
        return _write(factors, "json", {"content": [{"type": "text", "text": line}], "isError": True})
    if shape == "plain_text":
        return f"{_status_line(factors, error.status)}Error {error.status} {line}"
    parts = {"code": error.code, "message": error.message, "field": error.field, "status": error.status}
    parts |= {"type": "about:blank", "title": _PHRASES.get(error.status, "Error")}
    tree = {**FAILURE.get(factors["envelope"], {}), **_put_parts(SHAPES[shape], parts)}
    return _status_line(factors, error.status) + _write(factors, factors["media"], _shown(factors, tree))


def read_response(convention: Convention, text: str, definition: Definition | None) -> Response:
    """What a response text means: the inverse of `render_body` and `render_error`.

    Fault class and status of an error come from the definition's errors or the convention's codes ("" and 0 where
    neither knows the code, or several classes share it). In XML, types come from `returns`; without it all is text.
    A bare body that has just the keys of the error shape is taken for an error.
    Raises RecordError when the text is not a response of this convention.
    """
    try:
        return _read(convention.factors, text, definition)
    except (RecordError, orjson.JSONDecodeError, KeyError, IndexError, TypeError, ValueError) as fault:
        hint = "the text may be cut, or belong to another convention"
        raise RecordError(f"not a response of this convention: {text[:80]!r} ({fault})", hint) from fault


def _read(factors: Mapping[str, Json], text: str, definition: Definition | None) -> Response:
    whole, status = text, 0
    if factors["status_line"] == "shown" and (match := _STATUS_LINE.match(text)):
        text, status = text[match.end() :], int(match[1])
    if factors["envelope"] in _MCP:
        return _read_mcp(factors, text, definition)
    if factors["error_shape"] == "plain_text" and text.startswith("Error ") and (match := _LINE.fullmatch(text)):
        return Response(False, whole, None, _known_error(factors, match.groupdict(), status, definition))
    returns, key = (definition.returns if definition else None) or {}, PAYLOAD.get(factors["envelope"])
    wrapped = {"properties": {key: returns, "ok": {"type": "boolean"}}} if key else returns
    tree = _parse(_medium(factors, definition), text, wrapped)
    if (parts := _error_parts(factors, tree)) is not None:
        return Response(False, whole, None, _known_error(factors, parts, status, definition))
    return Response(True, whole, tree[key] if key else tree)


def _read_mcp(factors: Mapping[str, Json], text: str, definition: Definition | None) -> Response:
    outer = orjson.loads(text)
    if outer["isError"]:
        match = _LINE.fullmatch(outer["content"][0]["text"])
        if match is None:
            raise RecordError("an error without a code")
        return Response(False, text, None, _known_error(factors, match.groupdict(), 0, definition))
    if factors["envelope"] == "structured":
        return Response(True, text, outer["structuredContent"])
    returns = (definition.returns if definition else None) or {}
    return Response(True, text, _parse(_medium(factors, definition), outer["content"][0]["text"], returns))


def _known_error(
    factors: Mapping[str, Json], parts: Mapping[str, Json], status: int, definition: Definition | None
) -> ToolError:
    """The error of these parts, with class and status looked up by its code where the text does not tell."""
    code = parts["code"]
    fault, known = "", 0
    for spec in definition.errors if definition else ():
        if spec.code == code:
            fault, known = spec.fault, spec.status
            break
    else:
        faults = [name for name in _CODES if fault_code(factors, name) == code]
        known = fault_status(factors, faults[0]) if faults else 0
        fault = {"unsigned": "state.forbidden"}.get(faults[0], faults[0]) if len(faults) == 1 else ""
    shown = int(parts.get("status") or 0) if factors["error_shape"] in ("problem_json", "plain_text") else 0
    return ToolError(code, fault, shown or status or known, parts["message"], parts.get("field"))


def _error_parts(factors: Mapping[str, Json], tree: Json) -> dict[str, Json] | None:
    """Code, message and field of a tree that is an error by its flag and the keys of its shape, else None."""
    shape, flags = factors["error_shape"], FAILURE.get(factors["envelope"], {})
    if not isinstance(tree, dict) or shape == "plain_text" or any(tree.get(key) != flag for key, flag in flags.items()):
        return None
    if not tree.keys() - flags.keys() <= SHAPES[shape].keys():
        return None
    parts = dict(_find_parts(SHAPES[shape], tree))
    return parts if isinstance(parts.get("code"), str) and isinstance(parts.get("message"), str) else None


def _find_parts(shape: Json, tree: Json) -> Iterator[tuple[str, Json]]:
    """The parts of an error, each by its name, as far as the tree has the shape."""
    if isinstance(shape, str):
        yield shape, tree
    elif isinstance(shape, list) and isinstance(tree, list) and tree:
        yield from _find_parts(shape[0], tree[0])
    elif isinstance(shape, dict) and isinstance(tree, dict):
        for key, inner in shape.items():
            yield from _find_parts(inner, tree.get(key))


def _put_parts(shape: Json, parts: Mapping[str, Json]) -> Json:
    if isinstance(shape, dict):
        return {key: _put_parts(inner, parts) for key, inner in shape.items()}
    return [_put_parts(inner, parts) for inner in shape] if isinstance(shape, list) else parts[shape]


def _medium(factors: Mapping[str, Json], definition: Definition | None) -> str:
    own = definition.media if definition else "json"
    return own if own in ("xml", "text") else str(factors["media"])


def _write(factors: Mapping[str, Json], media: str, value: Json) -> str:
    spacing = factors["json_spacing"]
    if media == "xml":
        return write_xml(value, "response", indented=spacing == "indented")
    if media == "text":
        return write_text(value)
    if spacing == "indented":
        return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    return write_json(value, spacing == "spaced")


def _parse(media: str, text: str, schema: Mapping[str, Any]) -> Json:
    if media == "xml":
        return read_element(read_xml(text), schema)
    return read_text(text) if media == "text" else orjson.loads(text)


def _shown(factors: Mapping[str, Json], value: Json) -> Json:
    return _without_nulls(value) if factors["nulls"] == "omitted" else value


def _without_nulls(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _status_line(factors: Mapping[str, Json], status: int) -> str:
    return f"HTTP/1.1 {status} {_PHRASES.get(status, 'Error')}\n\n" if factors["status_line"] == "shown" else ""


def _style(factors: Mapping[str, Json], code: str) -> str:
    style = factors["code_style"]
    if style == "upper_snake":
        return code.upper()
    if style == "dotted":
        return code.replace("_", ".", 1)
    return f"E{1000 + int(digest(code)[:6], 16) % 9000} {code}" if style == "numbered" else code


def _enumerate(values: Sequence[Json], style: str) -> str:
    if style == "json":
        return orjson.dumps(list(values)).decode()
    texts = [spell(value) for value in values]
    if style == "or" and len(texts) > 1:
        return f"{', '.join(texts[:-1])} or {texts[-1]}"
    return ", ".join(texts)
