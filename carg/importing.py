"""Real tool lists read from files that others wrote: OpenAI, MCP, Anthropic, Gemini, BFCL lines, recorded traffic.

Formats are told by shape: a tool has a name and a schema under one of the known keys, alone in its file or in a list
under a known key, at any depth. Everything is data: sizes, depth and links are bounded, nothing is executed or fetched.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from carg.errors import RecordError, StoreError
from carg.guessing import guess_effect, guess_id, guess_places, guess_resource
from carg.normalising import normalise_schema
from carg.records import Json, Tool, digest
from carg.schemas import schema_complaints
from carg.vocabulary import tokens

SUFFIXES = (".json", ".jsonl", ".snap", ".yaml", ".yml")
MAX_FILE_BYTES = 32 * 2**20
MAX_NESTING = 60
"""Of a file; recorded traffic nests to 25."""
MAX_TOOLS = 100_000
MAX_TEXT = 20_000
"""Characters of a description; longer ones are refused."""

_LISTS = ("tools", "function", "functions", "functionDeclarations", "function_declarations")
_PARAMETERS = ("inputSchema", "input_schema", "parameters", "parametersJsonSchema", "parameters_json_schema")
_RETURNS = ("outputSchema", "output_schema", "returns", "response", "responses")


@dataclass(frozen=True, slots=True)
class Refusal:
    """An entry that was not taken, and why."""

    file: str
    entry: str
    name: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What files gave, in the order of the files."""

    tools: tuple[Tool, ...]
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class _Entry:
    """Something that stands where a tool should: its JSON pointer, the service it is listed under, and itself."""

    pointer: str
    service: str
    raw: Json


def read_tools(path: Path) -> Imported:
    """Every tool of a file, or of all files below a folder; refusals say what was left out and why.

    A tool that a file repeats is refused as a duplicate. Raises StoreError when the path itself cannot be read.
    """
    if not path.exists():
        raise StoreError(f"{path}: no such file or folder", "name a tool list, or a folder of them")
    tools: list[Tool] = []
    refusals: list[Refusal] = []
    for file in _files(path):
        label = file.relative_to(path).as_posix() if path.is_dir() else file.name
        read = _read_file(file, label, path.name if path.is_dir() else None)
        tools += read.tools
        refusals += read.refusals
    return Imported(tuple(tools), tuple(refusals))


def _files(path: Path) -> Iterator[Path]:
    """The file itself, or the readable files below a folder, sorted; links that lead out of it are left alone."""
    if path.is_file():
        yield path
        return
    home = path.resolve()
    for file in sorted(path.rglob("*")):
        if file.suffix in SUFFIXES and file.is_file() and file.resolve().is_relative_to(home):
            yield file


def _read_file(file: Path, label: str, folder: str | None) -> Imported:
    try:
        if (size := file.stat().st_size) > MAX_FILE_BYTES:
            raise RecordError(f"{size} bytes, at most {MAX_FILE_BYTES}")
        raw = file.read_bytes()
        document = parse_document(raw, yaml=file.suffix in (".yaml", ".yml"))
        entries = list(_find(document, _slug(file.stem), folder))
        if not entries:
            raise RecordError("no tool list found")
    except OSError as fault:
        return Imported((), (Refusal(label, "", None, f"cannot be read: {fault.strerror}"),))
    except RecordError as fault:
        return Imported((), (Refusal(label, "", None, fault.message),))
    tools: dict[str, Tool] = {}
    refusals = []
    source = hashlib.sha256(raw).hexdigest()[:16]
    for entry in entries:
        try:
            tool = build_tool(entry.raw, entry.service, made_from=(source, entry.pointer))
            if tool.id in tools:
                raise RecordError("duplicate of an earlier one in the file")
            tools[tool.id] = tool
        except RecordError as fault:
            refusals.append(Refusal(label, entry.pointer, _name(entry.raw), fault.message))
    return Imported(tuple(tools.values()), tuple(refusals))


def parse_document(raw: bytes, *, yaml: bool = False) -> Json:
    """The JSON, JSON Lines (as a list) or YAML value of a file. Raises RecordError; YAML aliases are not followed."""
    if yaml:
        return _parse_yaml(raw)
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as whole:
        try:
            return [orjson.loads(line) for line in raw.splitlines() if line.strip()]
        except orjson.JSONDecodeError:
            raise RecordError(f"not JSON: {whole}") from whole


def _parse_yaml(raw: bytes) -> Json:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    depth = 0
    try:
        for event in yaml.parse(raw, Loader=loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent):
                raise RecordError("YAML aliases are not followed")
            if depth > MAX_NESTING:
                raise RecordError(f"nested deeper than {MAX_NESTING}")
        return yaml.load(raw, Loader=loader)
    except yaml.YAMLError as fault:
        raise RecordError(f"not YAML: {str(fault)[:200]}") from fault


def _find(document: Json, stem: str, folder: str | None) -> Iterator[_Entry]:
    if _is_tool(document):
        yield _Entry("", _slug(folder or stem), document)
        return
    count = 0
    whole = isinstance(document, list) and any(_is_tool(item) for item in document)
    for entry in _listed(document, "", stem) if whole else _walk(document, "", stem, 0):
        if (count := count + 1) > MAX_TOOLS:
            raise RecordError(f"more than {MAX_TOOLS} tools")
        yield entry


def _walk(value: Json, pointer: str, service: str, level: int) -> Iterator[_Entry]:
    """Every entry of every tool list inside a value."""
    if level > MAX_NESTING:
        raise RecordError(f"nested deeper than {MAX_NESTING}")
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(item, f"{pointer}/{index}", service, level + 1)
    if not isinstance(value, dict):
        return
    service = _service(value) or service
    for key, item in value.items():
        if key in _LISTS and isinstance(item, list) and any(isinstance(inner, dict) for inner in item):
            yield from _listed(item, f"{pointer}/{key}", service)
        elif key in _LISTS and _is_tool(item):
            yield _Entry(f"{pointer}/{key}", service, item)
        elif key == "body" and isinstance(item, str) and item.startswith("{"):
            yield from _embedded(item, f"{pointer}/{key}", service, level)
        else:
            yield from _walk(item, f"{pointer}/{key}", service, level + 1)


def _embedded(text: str, pointer: str, service: str, level: int) -> Iterator[_Entry]:
    """The tools of a recorded body that is JSON in a string; other bodies hold none."""
    try:
        inner = orjson.loads(text)
    except orjson.JSONDecodeError:
        return
    yield from _walk(inner, pointer, service, level + 1)


def _listed(items: list[Json], pointer: str, service: str) -> Iterator[_Entry]:
    for index, item in enumerate(items):
        place = f"{pointer}/{index}"
        nested = isinstance(item, dict) and [key for key in _LISTS if isinstance(item.get(key), list)]
        if nested:
            yield from _walk(item, place, service, 1)
        else:
            yield _Entry(place, service, item)


def _is_tool(value: Json) -> bool:
    if not isinstance(value, dict):
        return False
    raw = _unwrap(value)
    return isinstance(_named(raw), str) and any(isinstance(raw.get(key), dict) for key in _PARAMETERS)


def _unwrap(value: dict[str, Json]) -> dict[str, Json]:
    inner = value.get("function")
    return inner if isinstance(inner, dict) else value


def _named(entry: dict[str, Json]) -> Json:
    return entry.get("name") or entry.get("api_name")


def _service(value: dict[str, Json]) -> str | None:
    info = value.get("serverInfo")
    named = value.get("server_name") or value.get("server_label") or (isinstance(info, dict) and info.get("name"))
    return _slug(named) if isinstance(named, str) and named else None


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:64] or "unnamed"


def _name(raw: Json) -> str | None:
    name = _named(_unwrap(raw)) if isinstance(raw, dict) else None
    return name[:200] if isinstance(name, str) else None


def build_tool(raw: Json, service: str, *, made_from: tuple[str, ...] = ()) -> Tool:
    """One entry of a tool list, in any of the known shapes, as a Tool of the domain `imported`.

    Raises RecordError, with the reason, for an entry without a name or schema, or with an unsound one.
    """
    if not isinstance(raw, dict):
        raise RecordError("not an object")
    entry = _unwrap(raw)
    name, text = _named(entry), entry.get("description") or entry.get("api_description") or ""
    given = next((entry[key] for key in _PARAMETERS if entry.get(key) is not None), None)
    if given is None:
        raise RecordError("no schema")
    if not isinstance(name, str) or not name.strip() or len(name) > 256:
        raise RecordError("no name")
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        raise RecordError(f"no description of at most {MAX_TEXT} characters")
    parameters = _schema(_as_object(given, entry.get("required")))
    hints = entry.get("annotations") if isinstance(entry.get("annotations"), dict) else {}
    title = entry.get("title") or (hints or {}).get("title")
    title = title if isinstance(title, str) else " ".join(tokens(name)).capitalize()
    effect, returns = guess_effect(name, hints), _returns(entry)
    resource = guess_resource(name)
    records, key = guess_places(returns or {}, resource)
    return Tool(
        id=digest("imported", service, name, title, text, parameters, returns, effect),
        domain="imported",
        service=service,
        name=name,
        title=title,
        description=text,
        parameters=parameters,
        returns=returns,
        effect=effect,
        resource=resource,
        id_argument=guess_id(parameters.get("required", ()), resource),
        id_result=key,
        records_result=records,
        origin="imported",
        made_from=made_from,
    )


def _as_object(given: Json, required: Json) -> Json:
    """The parameters as an object schema, where they are written as a bare map of names to schemas."""
    if isinstance(given, dict) and all(isinstance(item, dict) and "type" in item for item in given.values()):
        return {"type": "object", "properties": given, "required": required or []}
    return given


def _schema(given: Json, *, parameters: bool = True) -> dict[str, Json]:
    schema = normalise_schema(given)
    if complaints := schema_complaints(schema, bounded=False, parameters=parameters):
        raise RecordError("; ".join(complaints[:2]))
    known = schema.get("properties", {})
    lost = [key for key in schema.get("required", ()) if key not in known]
    if lost and schema.get("additionalProperties") is False:
        raise RecordError(f"requires {lost[0]!r}, which it does not allow")
    try:
        orjson.dumps(schema)
    except TypeError as fault:
        raise RecordError(f"schema cannot be written: {fault}") from fault
    return schema


def _returns(entry: dict[str, Json]) -> dict[str, Json] | None:
    """The schema of the body, where one is given and sound."""
    given: Any = next((entry[key] for key in _RETURNS if isinstance(entry.get(key), dict) and entry[key]), None)
    try:
        return None if given is None else _schema(given, parameters=False)
    except RecordError:
        return None
