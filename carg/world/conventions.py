"""Conventions: how an instance of a service is called and how it answers, drawn factor by factor and written out.

`syntax` writes and reads calls by these factors, `wording` responses. The builder of definitions and bodies applies
tool_case, field_case, nesting, id_style, date_style, time_style, number_style, paging words, terseness and embed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import NamedTuple

from carg.errors import DomainError
from carg.records import Convention, Json, ToolError, digest
from carg.world.wording import WORD_FACTORS, fault_code, fault_status, render_error, template

FACTORS: dict[str, dict[str, float]] = {
    "syntax": {"openai": 30, "mcp": 20, "http": 20, "python": 12, "xml": 9, "react": 9},
    "envelope": {"bare": 28, "data": 16, "result_status": 12, "ok_flag": 12, "mcp_content": 24, "structured": 16},
    "error_shape": {
        "code_message": 30,
        "problem_json": 24,
        "errors_list": 12,
        "flat": 18,
        "plain_text": 12,
        "mcp_is_error": 20,
    },
    "status_line": {"hidden": 50, "shown": 50},
    "media": {"json": 80, "xml": 10, "text": 12},
    "tool_case": {"snake": 50, "camel": 20, "kebab": 12, "dotted": 18},
    "field_case": {"snake": 55, "camel": 30, "pascal": 8, "kebab": 7},
    "nesting": {"flat": 80, "wrapped": 10, "grouped": 10},
    "json_spacing": {"compact": 55, "spaced": 30, "indented": 15},
    "nulls": {"explicit": 60, "omitted": 40},
    "code_style": {"snake": 50, "upper_snake": 25, "numbered": 10, "dotted": 15},
    "schema_codes": {"each": 75, "single": 25},
    "schema_status": {"400": 50, "422": 50},
    "noun": {"parameter": 40, "field": 30, "argument": 30},
    "quote": {"'": 35, '"': 20, "`": 20, "": 25},
    "full_stop": {"": 50, ".": 50},
    "allowed_style": {"comma": 40, "json": 30, "or": 30},
    "words_missing": {
        "Missing required {noun} {field}": 1,
        "The {noun} {field} is required": 1,
        "{field} is required but was not given": 1,
        "Required {noun} {field} was not provided": 1,
    },
    "words_unknown": {
        "Unknown {noun} {field}": 1,
        "The {noun} {field} is not recognised": 1,
        "Unexpected {noun} {field}": 1,
        "There is no {noun} {field}": 1,
    },
    "words_type": {
        "{field} must be of type {expected}, not {type}": 1,
        "Expected {expected} for {field}, got {type}": 1,
        "Wrong type for {noun} {field}: {type} given, {expected} expected": 1,
        "The {noun} {field} has to be {expected}": 1,
    },
    "words_enum": {
        "{field} must be one of: {allowed}": 1,
        "{value} is not allowed for {field}; use {allowed}": 1,
        "Invalid value for {field}. Allowed: {allowed}": 1,
        "The {noun} {field} accepts only {allowed}": 1,
    },
    "words_range": {
        "{field} must be {bound}": 1,
        "{field} is out of range: it must be {bound}": 1,
        "{value} in {field} is not {bound}": 1,
        "The {noun} {field} should be {bound}": 1,
    },
    "words_format": {
        "{field} is not a valid {format}": 1,
        "Invalid {format} in {noun} {field}": 1,
        "The {noun} {field} does not match the format {format}": 1,
        "{value} in {field} cannot be read as {format}": 1,
    },
    "words_not_found": {
        "No {resource} with id {id}": 1,
        "{resource} {id} does not exist": 1,
        "{resource} {id} was not found": 1,
        "Could not find {resource} {id}": 1,
    },
    "words_forbidden": {
        "Access denied for {actor}": 1,
        "{actor} is not allowed to do this": 1,
        "Not permitted for {actor}": 1,
        "Permission denied": 1,
    },
    "words_unsigned": {
        "The call does not say who makes it": 1,
        "Authentication required": 1,
        "No credential given": 1,
    },
    "words_unknown_tool": {
        "Unknown tool {tool}": 1,
        "There is no tool named {tool}": 1,
        "Tool {tool} is not available": 1,
    },
    "words_unparsable": {
        "The call could not be parsed": 1,
        "Malformed call": 1,
        "The request is not a well-formed call": 1,
        "Could not read the call": 1,
    },
    "auth": {"none": 60, "argument": 15, "header": 25},
    "auth_word": {"acting_as": 30, "on_behalf_of": 25, "caller": 20, "key_name": 25},
    "id_style": {"prefixed_sequence": 40, "prefixed_hex": 20, "uuid": 12, "integer": 18, "short_code": 10},
    "time_style": {"iso_z": 50, "iso_offset": 18, "space_separated": 16, "epoch_seconds": 16},
    "date_style": {"iso": 64, "dmy_dots": 14, "us_slashes": 14, "epoch": 8},
    "number_style": {"plain": 85, "decimal_strings": 15},
    "paging": {"limit_offset": 40, "page_size": 35, "cursor": 25},
    "page_words": {"short": 45, "long": 30, "max": 25},
    "list_words": {"items/total": 35, "results/count": 30, "data/total_count": 15, "records/total": 20},
    "terseness": {"full": 65, "changed": 20, "id_only": 15},
    "embed": {"ids": 45, "brief": 40, "full": 15},
}
"""Factor -> value -> weight, in the order of drawing. Words hold their own template (see `wording.template`)."""

_CLASHES: tuple[tuple[str, str, str, str], ...] = (
    ("syntax", "openai", "tool_case", "dotted"),
    ("syntax", "python", "tool_case", "kebab"),
    ("syntax", "python", "field_case", "kebab"),
    ("syntax", "python", "auth", "header"),
    ("syntax", "http", "nesting", "wrapped"),
    ("syntax", "http python xml", "envelope", "mcp_content structured"),
    ("syntax", "mcp", "envelope", "data result_status ok_flag"),
    ("syntax", "openai mcp python xml react", "status_line", "shown"),
    ("envelope", "mcp_content structured", "error_shape", "code_message problem_json errors_list flat plain_text"),
    ("envelope", "bare data result_status ok_flag", "error_shape", "mcp_is_error"),
    ("envelope", "result_status ok_flag", "error_shape", "problem_json plain_text"),
    ("media", "xml text", "envelope", "structured"),
    ("media", "xml", "error_shape", "plain_text"),
    ("media", "text", "error_shape", "problem_json errors_list"),
    ("media", "xml text", "number_style", "decimal_strings"),
    ("envelope", "data", "list_words", "data/total_count"),
    ("time_style", "iso_z iso_offset space_separated", "date_style", "epoch"),
    ("time_style", "epoch_seconds", "date_style", "dmy_dots us_slashes"),
)
"""(factor, values, other factor, its values that make no sense beside them), values separated by spaces."""
_BARRED = {
    pair
    for one, ones, two, twos in _CLASHES
    for left in ones.split()
    for right in twos.split()
    for pair in ((one, left, two, right), (two, right, one, left))
}
_TIED = {factor for factor, *_ in _BARRED}

_PAGE_WORDS = {
    "limit_offset": {"short": ("limit", "offset"), "long": ("limit", "skip"), "max": ("max_results", "start_at")},
    "page_size": {"short": ("per_page", "page"), "long": ("page_size", "page_number"), "max": ("max_results", "page")},
    "cursor": {"short": ("limit", "cursor"), "long": ("page_size", "page_token"), "max": ("max_results", "after")},
}
_CALLS = {
    "openai": '{"name": "<tool>",%s "arguments": {...}}',
    "mcp": '{"jsonrpc": "2.0", "id": n, "method": "tools/call", "params": {"name": "<tool>", "arguments": {...}%s}}',
    "http": "HTTP request at the tool's path%s; other arguments in the query of GET and DELETE, else in a JSON body",
    "python": "tool(name=value, ...)%s",
    "xml": '<call tool="<tool>"%s> with an element for each argument, list items in <item>',
    "react": "Action: <tool>%s, then a line `Action Input: {...}`",
}
_SIGNED = {
    "openai": ' "%s": <name>,',
    "mcp": ', "_meta": {"%s": <name>}',
    "http": " with the header %s: <name>",
    "python": "%s",
    "xml": ' %s="<name>"',
    "react": ", then a line `%s: <name>`",
}
_ENVELOPES = {
    "bare": "the body itself",
    "data": '{"data": body}',
    "result_status": '{"status": "ok", "result": body}',
    "ok_flag": '{"ok": true, "payload": body}',
    "mcp_content": '{"content": [{"type": "text", "text": <body>}], "isError": false}',
    "structured": '{"structuredContent": body, "isError": false}',
}
_MEDIA = {
    "json": "{spacing} JSON",
    "xml": "XML in <response>, list items in <item>",
    "text": "text of `key: value` lines, nested by indentation",
}
_ALLOWED = {"comma": "a, b, c", "or": "a, b or c", "json": '["a","b","c"]'}
_IDS = {
    "prefixed_sequence": "prefix and number (ABC-0012); a new record takes the next number",
    "prefixed_hex": "prefix and hex digits (abc_9f03a1c2)",
    "uuid": "UUIDs",
    "integer": "whole numbers; a new record takes the next one",
    "short_code": "short codes (K7QX2M)",
}
_TIMES = {
    "iso_z": "2024-05-03T09:00:00Z",
    "iso_offset": "2024-05-03T09:00:00+00:00",
    "space_separated": "2024-05-03 09:00:00 (UTC)",
    "epoch_seconds": "seconds since 1970 (UTC)",
}
_DATES = {
    "iso": "2024-05-03",
    "dmy_dots": "03.05.2024",
    "us_slashes": "05/03/2024",
    "epoch": "seconds since 1970 at midnight UTC",
}
_TERSE = {"full": "the whole record", "changed": "the id and what changed", "id_only": "the id only"}
_EMBED = {"ids": "ids", "brief": "id and name", "full": "whole records"}


class PageWords(NamedTuple):
    """What a convention calls the parts of paging, in snake_case: `size` and `position` are arguments, the others keys
    of the answer; `following` is None unless paging is by cursor."""

    size: str
    position: str
    items: str
    total: str
    following: str | None


def case_words(words: str, case: str, prefix: str = "") -> str:
    """snake_case words in another case: snake, camel, pascal, kebab, header, or dotted (`prefix.words`)."""
    first, *rest = words.split("_")
    if case == "camel":
        return first + "".join(word.capitalize() for word in rest)
    if case == "pascal":
        return "".join(word.capitalize() for word in (first, *rest))
    if case == "kebab":
        return words.replace("_", "-")
    if case == "header":
        return "-".join(word.capitalize() for word in (first, *rest))
    return f"{prefix}.{words}" if case == "dotted" and prefix else words


def page_words(factors: Mapping[str, Json]) -> PageWords:
    """The words of paging under these factors."""
    size, position = _PAGE_WORDS[factors["paging"]][factors["page_words"]]
    items, total = factors["list_words"].split("/")
    return PageWords(size, position, items, total, f"next_{position}" if factors["paging"] == "cursor" else None)


def auth_name(factors: Mapping[str, Json]) -> str:
    """How the credential is called where the call puts it: an argument, a header, or a key or attribute beside."""
    if factors["auth"] == "argument":
        return case_words(factors["auth_word"], factors["field_case"])
    return case_words(factors["auth_word"], "header" if factors["syntax"] in ("http", "react") else "snake")


def draw_convention(
    rng: Random, *, never: Mapping[str, Sequence[str]] | None = None, must: Mapping[str, str] | None = None
) -> Convention:
    """A convention drawn by the weights of FACTORS, one factor after another, each beside what is drawn already.

    `must` fixes factors, `never` takes values away. Raises DomainError on unknown names and where nothing is left.
    """
    never, must = never or {}, must or {}
    for factor, values in [*never.items(), *((factor, [value]) for factor, value in must.items())]:
        if unknown := set(values) - FACTORS.get(factor, {}).keys():
            known = ", ".join(FACTORS.get(factor, FACTORS))
            raise DomainError(f"style factor {factor!r} has no value {sorted(unknown)[0]!r}", f"known: {known}")
    kept = {
        factor: [must[factor]] if factor in must else [value for value in values if value not in never.get(factor, ())]
        for factor, values in FACTORS.items()
    }
    fixed = {factor: values[0] for factor, values in kept.items() if len(values) == 1}
    clash = not all(kept.values()) or any((*one, *two) in _BARRED for one in fixed.items() for two in fixed.items())
    drawn = None if clash else _complete(rng, fixed, kept)
    if drawn is None:
        raise DomainError(f"no convention fits must {dict(must)} and never {dict(never)}", "loosen one of them")
    free = {factor: _pick(rng, factor, values) for factor, values in kept.items() if factor not in drawn}
    return make_convention({factor: (drawn | free)[factor] for factor in FACTORS})


def _complete(rng: Random, drawn: dict[str, str], kept: Mapping[str, Sequence[str]]) -> dict[str, str] | None:
    """`drawn` and a value for each factor that clashes know; a choice that leaves nothing for another is taken back."""
    factor = next((factor for factor in FACTORS if factor in _TIED and factor not in drawn), None)
    if factor is None:
        return drawn
    options = [v for v in kept[factor] if not any((factor, v, *other) in _BARRED for other in drawn.items())]
    while options:
        value = _pick(rng, factor, options)
        if found := _complete(rng, {**drawn, factor: value}, kept):
            return found
        options.remove(value)
    return None


def _pick(rng: Random, factor: str, values: Sequence[str]) -> str:
    return rng.choices(values, [FACTORS[factor][value] for value in values])[0]


def make_convention(factors: Mapping[str, Json]) -> Convention:
    """The convention of these factors (all of FACTORS), with its id and documentation."""
    return Convention(digest("convention", factors), dict(factors), document(factors))


def document(factors: Mapping[str, Json]) -> str:
    """What an instance tells its callers: how to call, how it answers and refuses, what values look like."""
    lines = [f"Call: {_call_form(factors)}.", _answer_form(factors), *_error_forms(factors)]
    return "\n".join([*lines, _list_form(factors), _value_forms(factors)])


def _call_form(factors: Mapping[str, Json]) -> str:
    syntax, name = factors["syntax"], auth_name(factors)
    form = _CALLS[syntax] % (_SIGNED[syntax] % name if factors["auth"] == "header" else "")
    meaning = "a key" if factors["auth_word"] == "key_name" else "an actor"
    if factors["auth"] == "argument":
        return f"{form}, with one more argument `{name}` that names {meaning}"
    return f"{form}; `{name}` names {meaning}" if factors["auth"] == "header" else form


def _answer_form(factors: Mapping[str, Json]) -> str:
    media = _MEDIA[factors["media"]].replace("{spacing}", factors["json_spacing"])
    head = " after `HTTP/1.1 <status> <phrase>` and an empty line" if factors["status_line"] == "shown" else ""
    nulls = "left out" if factors["nulls"] == "omitted" else "written"
    return f"Answers: {media}, {_ENVELOPES[factors['envelope']]}{head}; nulls are {nulls}."


def _error_forms(factors: Mapping[str, Json]) -> list[str]:
    """The shape of errors, then one line for each class: code, status where answers show it, words."""
    sample = ToolError("<code>", "", int(factors["schema_status"]), "<message>", "<field>")
    shape = render_error(Convention("", {**factors, "json_spacing": "compact", "status_line": "hidden"}, ""), sample)
    shows = factors["status_line"] == "shown" or factors["error_shape"] in ("problem_json", "plain_text")
    lines = [f"Errors: {shape}"]
    for fault in WORD_FACTORS:
        if fault != "unsigned" or factors["auth"] != "none":
            status = f" {fault_status(factors, fault)}" if shows else ""
            words = template(factors, fault).replace("{allowed}", _ALLOWED[factors["allowed_style"]])
            lines.append(f"{fault_code(factors, fault)}{status}: {words}")
    return lines


def _list_form(factors: Mapping[str, Json]) -> str:
    size, position, items, total, following = (
        case_words(name or "", factors["field_case"]) for name in page_words(factors)
    )
    meaning = {"limit_offset": " (records to skip)", "page_size": " (from 1)", "cursor": ""}[factors["paging"]]
    last = f", {following} unless it is the last page" if following else ""
    return f"Lists: pass {size}, {position}{meaning}; get {items}, {total}{last}."


def _value_forms(factors: Mapping[str, Json]) -> str:
    decimals = " Numbers that are not whole are strings." if factors["number_style"] == "decimal_strings" else ""
    return (
        f"Ids: {_IDS[factors['id_style']]}. Dates: {_DATES[factors['date_style']]}. "
        f"Times: {_TIMES[factors['time_style']]}.{decimals} "
        f"Create and update return {_TERSE[factors['terseness']]}; references are {_EMBED[factors['embed']]}."
    )
