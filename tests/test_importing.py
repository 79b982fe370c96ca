"""Tool lists of others: every known shape is read, what is unsound is refused with its reason."""

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from carg import importing
from carg.encoding import from_json, to_json
from carg.errors import RecordError, StoreError
from carg.guessing import guess_effect, guess_places
from carg.importing import build_tool, parse_document, read_tools
from carg.normalising import normalise_schema
from carg.records import Tool
from carg.schemas import faults, schema_complaints

REAL = Path(os.environ.get("CARG_REALDATA", Path(__file__).parents[2] / "shared" / "realdata"))
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
BARE = {"name": "get_weather", "description": "Weather of a city.", "parameters": CITY}
MCP = {
    "name": "delete_note",
    "title": "Delete a note",
    "description": "Gone for good.",
    "inputSchema": {"type": "object", "properties": {"note_id": {"type": "string"}}, "required": ["note_id"]},
    "outputSchema": {"type": "object", "properties": {"deleted": {"type": "boolean"}}},
    "annotations": {"destructiveHint": True, "readOnlyHint": False},
}

SHAPES = {
    "one bare tool": BARE,
    "a list of bare tools": [BARE],
    "wrapped as OpenAI does": {"tools": [{"type": "function", "function": BARE}]},
    "a list of wrapped ones": [{"type": "function", "function": BARE}],
    "an Anthropic request": {"model": "m", "tools": [{"name": "get_weather", "input_schema": CITY}]},
    "a Gemini request": {"tools": [{"functionDeclarations": [{"name": "get_weather", "parametersJsonSchema": CITY}]}]},
    "an MCP answer": {"jsonrpc": "2.0", "result": {"tools": [{"name": "get_weather", "inputSchema": CITY}]}},
    "a BFCL line": {"id": "1", "question": [["?"]], "function": [BARE]},
    "a bare map of parameters": [
        {"api_name": "get_weather", "parameters": {"city": {"type": "str"}}, "required": ["city"]}
    ],
    "recorded traffic": {"interactions": [{"request": {"body": json.dumps({"tools": [BARE]})}}]},
}


def write(path: Path, value: object) -> Path:
    """The value as a JSON file."""
    path.write_text(json.dumps(value))
    return path


def reasons(path: Path) -> list[str]:
    """Why entries of a file were refused."""
    return [refusal.reason for refusal in read_tools(path).refusals]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_the_tool(shape: str, tmp_path: Path) -> None:
    """Whatever wraps it, the tool has its name and its parameters."""
    imported = read_tools(write(tmp_path / "My tools.json", SHAPES[shape]))

    assert imported.refusals == ()
    assert [(tool.name, tool.parameters) for tool in imported.tools] == [("get_weather", CITY)]
    assert imported.tools[0].service == "my_tools"


def test_an_mcp_tool_keeps_what_it_says(tmp_path: Path) -> None:
    """Title, output, hints and the id argument; domain, origin and what it was made from."""
    path = write(tmp_path / "notes.json", {"serverInfo": {"name": "Notes 2"}, "tools": [MCP]})
    tool = read_tools(path).tools[0]

    assert (tool.domain, tool.service, tool.origin, tool.key) == (
        *("imported", "notes_2", "imported"),
        "imported/notes_2/delete_note",
    )
    assert (tool.title, tool.effect, tool.resource, tool.id_argument) == ("Delete a note", "delete", "note", "note_id")
    assert tool.returns == MCP["outputSchema"]
    assert tool.made_from[1] == "/tools/0"
    assert from_json(Tool, to_json(tool)) == tool


def test_lines_and_yaml_are_read_like_json(tmp_path: Path) -> None:
    """JSON Lines give each line's tools; YAML gives the same as JSON."""
    lines = tmp_path / "a.json"
    lines.write_text("\n".join(json.dumps({"function": [BARE | {"name": name}]}) for name in ("one", "two")))
    recorded = tmp_path / "b.yaml"
    recorded.write_text(
        "interactions:\n- request:\n    parsed_body:\n      tools:\n      - name: three\n"
        "        parameters:\n          type: OBJECT\n          properties: {n: {type: INTEGER}}\n"
    )

    assert [tool.name for tool in read_tools(tmp_path).tools] == ["one", "two", "three"]
    assert read_tools(recorded).tools[0].parameters == {"type": "object", "properties": {"n": {"type": "integer"}}}


def test_a_folder_is_read_file_by_file(tmp_path: Path) -> None:
    """Sorted, below too; a tool alone in its file belongs to the folder; links that lead out are left alone."""
    home = tmp_path / "server"
    (home / "more").mkdir(parents=True)
    write(tmp_path / "outside.json", [BARE | {"name": "secret"}])
    write(home / "b.snap", BARE | {"name": "b"})
    write(home / "more" / "a.json", BARE | {"name": "a"})
    (home / "c.json").symlink_to(tmp_path / "outside.json")
    (home / "notes.txt").write_text("no list")
    imported = read_tools(home)

    assert [(tool.name, tool.service) for tool in imported.tools] == [("b", "server"), ("a", "server")]
    assert imported.refusals == ()


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"name": "x"}, "no schema"),
        ({"type": "tool_search"}, "no schema"),
        ({"name": "", "parameters": CITY}, "no name"),
        ({"name": "x", "description": "d" * 30_000, "parameters": CITY}, "no description of at most 20000 characters"),
        ({"name": "x", "parameters": {"type": "array"}}, "top is 'array', not object"),
        ({"name": "x", "parameters": {"type": "widget"}}, "type 'widget' is not understood"),
        ({"name": "x", "parameters": {"type": 3}}, "type '3' is not understood"),
        ({"name": "x", "parameters": CITY | {"required": ["town"], "additionalProperties": False}}, "requires 'town'"),
        ({"name": "x", "parameters": {"type": "object", "$ref": "https://a.example/s.json"}}, "remote reference"),
        ({"name": "x", "parameters": CITY | {"minProperties": 2**70}}, "at most 1000"),
        ({"name": "x", "parameters": CITY | {"maxProperties": -1}}, "unsound schema"),
        ("x", "not an object"),
        (BARE, "duplicate"),
    ],
)
def test_what_is_unsound_is_refused_with_its_reason(entry: object, reason: str, tmp_path: Path) -> None:
    """The sound tool beside it is kept."""
    path = write(tmp_path / "a.json", {"tools": [BARE, entry]})

    assert len(read_tools(path).tools) == 1
    assert [reason in text for text in reasons(path)] == [True]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.json", "{", "not JSON"),
        ("a.json", '{"a": 1}', "no tool list found"),
        ("a.json", "[" * 2000 + "]" * 2000, "not JSON"),
        ("a.json", "[" * 100 + "]" * 100, "nested deeper"),
        ("a.yaml", "a: &x [1]\nb: *x\n", "YAML aliases are not followed"),
        ("a.yaml", "[" * 100 + "]" * 100, "nested deeper"),
        ("a.yaml", "a: [", "not YAML"),
        ("a.yaml", "a: !!python/object/apply:os.system ['true']", "not YAML"),
        ("a.json", '{"request": {"body": "{no json"}}', "no tool list found"),
    ],
)
def test_files_that_are_no_lists_are_refused(name: str, text: str, reason: str, tmp_path: Path) -> None:
    """Broken, hostile or other files give one refusal, never a crash."""
    path = tmp_path / name
    path.write_text(text)

    assert read_tools(path).tools == ()
    assert [reason in item for item in reasons(path)] == [True]


def test_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file too large, and a list too long, are refused."""
    path = write(tmp_path / "a.json", {"tools": [BARE, BARE | {"name": "b"}]})
    monkeypatch.setattr(importing, "MAX_TOOLS", 1)
    assert reasons(path) == ["more than 1 tools"]

    monkeypatch.setattr(importing, "MAX_FILE_BYTES", 10)
    assert "at most 10" in reasons(path)[0]


def test_a_path_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """Named in the message."""
    with pytest.raises(StoreError, match="nowhere"):
        read_tools(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"type": "dict"}, {"type": "object"}),
        ({"type": "any", "description": "d"}, {"description": "d"}),
        ({"type": ["INT", "null"]}, {"type": ["integer", "null"]}),
        ({"type": "number", "nullable": True}, {"type": ["number", "null"]}),
        ({"type": "date"}, {"type": "string", "format": "date"}),
        ({"minimum": 1, "exclusiveMinimum": True}, {"exclusiveMinimum": 1}),
        ({"maximum": 1, "exclusiveMaximum": False}, {"maximum": 1}),
        ({"type": "tuple", "items": [{}]}, {"type": "array", "prefixItems": [{}], "items": {}}),
        ({"$ref": "#/definitions/a", "definitions": {"a": {}}}, {"$ref": "#/$defs/a", "$defs": {"a": {}}}),
        ({"dependencies": {"a": ["b"]}}, {"dependentRequired": {"a": ["b"]}, "dependentSchemas": {}}),
        (
            {"properties": {"a": {"type": "String", "required": True}}},
            {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        ),
        (
            {"properties": {"a": {"optional": True}, "b": {}}, "required": ["a", "b"]},
            {"type": "object", "properties": {"a": {}, "b": {}}, "required": ["b"]},
        ),
        ({"type": "string", "default": None, "enum": ["a", "a"]}, {"type": "string", "enum": ["a"]}),
        ({"type": "integer", "default": 3, "example": "x"}, {"type": "integer", "default": 3}),
        ({"type": "integer", "example": 4, "enum": []}, {"type": "integer", "examples": [4]}),
        ({"type": "string", "enum": None, "format": None}, {"type": "string"}),
        (True, {}),
        (False, {"not": {}}),
    ],
)
def test_foreign_spellings_are_normalised(given: object, expected: dict) -> None:
    """Names of types, older drafts, OpenAPI's keys; a second pass changes nothing."""
    assert normalise_schema(given) == expected
    assert normalise_schema(expected) == expected


@pytest.mark.parametrize("bad", [[], {"properties": {"a": "string"}}, {"type": "array", "items": {"type": "thing"}}])
def test_what_has_no_meaning_is_refused(bad: object) -> None:
    """A schema that is none, anywhere inside."""
    with pytest.raises(RecordError):
        normalise_schema(bad)


@pytest.mark.parametrize(
    ("name", "hints", "effect"),
    [
        ("list_issues", {}, "search"),
        ("searchFlights", None, "search"),
        ("calendar.create-event", {}, "create"),
        ("send_message", {}, "action"),
        ("send_message", {"readOnlyHint": True}, "read"),
        ("get_token", {"readOnlyHint": False}, "action"),
        ("purge", {"destructiveHint": True}, "delete"),
        ("calculate_area", {}, "compute"),
    ],
)
def test_the_effect_is_guessed(name: str, hints: dict | None, effect: str) -> None:
    """Hints first, then the verb."""
    assert guess_effect(name, hints) == effect


@pytest.mark.parametrize(
    ("properties", "records", "key"),
    [
        ({"id": {}, "name": {}}, None, "id"),
        ({"parent_id": {}, "issue_id": {}}, None, "issue_id"),
        ({"items": {"items": {"properties": {"issue_id": {}}}}, "total": True}, "items", "items.issue_id"),
        ({"items": {"items": {"properties": {"name": {}}}}}, "items", None),
        ({"a": {"items": {"properties": {"id": {}}}}, "b": {"items": {"properties": {"id": {}}}}}, None, None),
        ({"names": {"items": True}}, None, None),
    ],
)
def test_places_of_ids_and_records_are_guessed(properties: dict, records: str | None, key: str | None) -> None:
    """An id of its own comes first; the only list of objects holds the records; of two lists, neither."""
    assert guess_places({"properties": properties}, "issue") == (records, key)


def test_the_id_is_of_the_content() -> None:
    """Another description makes another tool; the same content the same one."""
    one, same, other = (build_tool(BARE | {"description": text}, "s") for text in ("a", "a", "b"))

    assert one.id == same.id != other.id


def test_an_unsound_output_is_dropped() -> None:
    """A tool is not refused for what it says of its answers."""
    assert build_tool(MCP | {"outputSchema": {"type": "thing"}}, "s").returns is None


def test_json_lines_are_a_list() -> None:
    """One value a line, blank lines left out."""
    assert parse_document(b'{"a": 1}\n\n{"a": 2}\n') == [{"a": 1}, {"a": 2}]


needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="CARG_REALDATA names no folder")


@pytest.mark.realdata
@needs_real
@pytest.mark.parametrize(
    ("source", "tools", "names", "refused"),
    [
        ("bfcl", 3178, 1650, {"duplicate": 704, "no tool list found": 18}),
        ("livemcpbench/tools.json", 527, 510, {}),
        ("github_mcp_toolsnaps", 56, 56, {}),
        ("pydantic_ai_cassettes", 40, 20, {"duplicate": 59, "no schema": 16}),
        ("seal_tools", 1600, 1600, {"no tool list found": 2}),
    ],
)
def test_real_lists_are_read(source: str, tools: int, names: int, refused: dict[str, int]) -> None:
    """All that have a schema are read, and all that are read are sound."""
    imported = read_tools(REAL / source)
    counted = Counter(item.reason.split(" of an")[0] for item in imported.refusals)

    assert (len(imported.tools), len({tool.name for tool in imported.tools}), counted) == (tools, names, refused)
    assert not any(schema_complaints(tool.parameters, bounded=False) for tool in imported.tools)


def gold_calls(file: Path) -> list[tuple[Tool, dict]]:
    """The gold calls of a BFCL answer file with their tools: the first accepted value of each parameter."""
    questions = {item["id"]: item for item in map(json.loads, (file.parents[1] / file.name).read_text().splitlines())}
    found = []
    for answer in map(json.loads, file.read_text().splitlines()):
        tools = {item["name"]: build_tool(item, "s") for item in questions.get(answer["id"], {}).get("function", ())}
        for call in answer["ground_truth"]:
            ((name, accepted),) = call.items()
            if name in tools:
                found.append((tools[name], {key: pick(value) for key, value in accepted.items() if set_(value)}))
    return found


def set_(accepted: object) -> bool:
    """Whether a list of accepted values holds more than "may be left out"."""
    return not isinstance(accepted, list) or any(value != "" for value in accepted)


def pick(accepted: object) -> object:
    """The first accepted value, lists of accepted values inside objects resolved too."""
    value = next(item for item in accepted if item != "") if isinstance(accepted, list) else accepted
    items = value if isinstance(value, list) else [value]
    plain = [
        {key: pick(inner) for key, inner in item.items() if set_(inner)} if isinstance(item, dict) else item
        for item in items
    ]
    return plain if isinstance(value, list) else plain[0]


@pytest.mark.realdata
@needs_real
def test_gold_calls_are_seldom_refused() -> None:
    """Only gold values that break their own definition are: the floor that the data set documents (182 of 2,419)."""
    calls = [
        call
        for file in sorted((REAL / "bfcl" / "possible_answer").glob("*.json"))
        if "multi_turn" not in file.name
        for call in gold_calls(file)
    ]
    first = Counter(found[0].fault for tool, arguments in calls if (found := faults(tool.parameters, arguments)))

    assert len(calls) == 2419
    assert first == {"schema.type": 68, "schema.enum": 24, "schema.missing": 3}
