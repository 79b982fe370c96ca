"""Call texts: what is written comes back as it was, and what is broken is reported, never run."""

from random import Random

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carg.records import Definition, Violation
from carg.world.conventions import FACTORS, draw_convention
from carg.world.syntax import MAX_CHARS, parse_call, render_call, spoil_call

SYNTAXES = list(FACTORS["syntax"])
ANY = st.characters(exclude_categories=["Cs"])
IN_XML = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff", include_characters="\n\r\t")


def convention_of(syntax, **must):
    return draw_convention(Random(5), must={"syntax": syntax, "schema_codes": "each", "code_style": "snake", **must})


def define(parameters, *, name="harvest_honey", http=("POST", "/hives/{hive_id}/harvest")):
    schema = {"type": "object", "properties": parameters, "additionalProperties": False}
    return Definition("id", f"bees/hives/{name}", name, "", "", schema, None, (), "action", http)


HARVEST = define(
    {
        "hive_id": {"type": "string"},
        "amount": {"type": "number"},
        "note": {"type": ["string", "null"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "range": {"type": "object", "properties": {"min": {"type": "integer"}}},
    }
)
GET_HIVE = define({"hive_id": {"type": "string"}}, name="get_hive", http=("GET", "/hives/{hive_id}"))
SEARCH = define(
    {
        "status": {"type": "string"},
        "limit": {"type": "integer"},
        "tags": HARVEST.parameters["properties"]["tags"],
        "range": HARVEST.parameters["properties"]["range"],
        "note": HARVEST.parameters["properties"]["note"],
    },
    name="search_hives",
    http=("GET", "/hives/search"),
)
TOOLS = {tool.name: tool for tool in (HARVEST, GET_HIVE, SEARCH)}
ARGUMENTS = {"hive_id": "HIV-1", "amount": 3, "note": None, "tags": ["calm", "old"], "range": {"min": 2}}


@pytest.mark.parametrize(
    ("syntax", "expected"),
    [
        (
            "openai",
            '{"name":"harvest_honey","caller":"kim","arguments":{"hive_id":"HIV-1","amount":3,"note":null,'
            '"tags":["calm","old"],"range":{"min":2}}}',
        ),
        (
            "mcp",
            '{"jsonrpc":"2.0","id":63,"method":"tools/call","params":{"name":"harvest_honey","arguments":'
            '{"hive_id":"HIV-1","amount":3,"note":null,"tags":["calm","old"],"range":{"min":2}},'
            '"_meta":{"caller":"kim"}}}',
        ),
        (
            "http",
            "POST /hives/HIV-1/harvest\nCaller: kim\nContent-Type: application/json\n\n"
            '{"amount":3,"note":null,"tags":["calm","old"],"range":{"min":2}}',
        ),
        (
            "python",
            'harvest_honey(hive_id="HIV-1", amount=3, note=None, tags=["calm", "old"], range={"min": 2}, caller="kim")',
        ),
        (
            "xml",
            '<call tool="harvest_honey" caller="kim"><hive_id>HIV-1</hive_id><amount>3</amount><note nil="true"/>'
            "<tags><item>calm</item><item>old</item></tags><range><min>2</min></range></call>",
        ),
        (
            "react",
            "Action: harvest_honey\nCaller: kim\n"
            'Action Input: {"hive_id":"HIV-1","amount":3,"note":null,"tags":["calm","old"],"range":{"min":2}}',
        ),
    ],
)
def test_one_call_in_each_syntax(syntax, expected):
    """Word for word, with the credential where the syntax has room for it."""
    auth = "argument" if syntax == "python" else "header"
    convention = convention_of(syntax, auth=auth, auth_word="caller", json_spacing="compact", field_case="snake")

    text = render_call(convention, HARVEST, ARGUMENTS, "kim")
    parsed = parse_call(convention, text, TOOLS)

    assert text == expected
    assert (parsed.tool, parsed.arguments, parsed.credential, parsed.fault) == ("harvest_honey", ARGUMENTS, "kim", None)


def test_query_strings_carry_lists_objects_nulls_and_odd_characters():
    """GET has no body: all stands in the query, typed by the schema when it is read."""
    convention = convention_of("http", auth="none")
    arguments = {"status": "a&b=c d+é", "limit": 5, "tags": ["x", "1"], "range": {"min": 3}, "note": None}

    text = render_call(convention, SEARCH, arguments)

    assert text == "GET /hives/search?status=a%26b%3Dc%20d%2B%C3%A9&limit=5&tags=x&tags=1&range[min]=3&note"
    assert parse_call(convention, text, TOOLS).arguments == arguments
    assert parse_call(convention, text, TOOLS).tool == "search_hives"


def test_a_slot_not_given_is_an_argument_not_given():
    """The path shows the bare slot, so that schema.missing can follow; an empty string stays one."""
    convention = convention_of("http", auth="none")

    assert render_call(convention, GET_HIVE, {}) == "GET /hives/{hive_id}"
    assert parse_call(convention, "GET /hives/{hive_id}", TOOLS).arguments == {}
    assert parse_call(convention, "GET /hives/", TOOLS).arguments == {"hive_id": ""}


@pytest.mark.parametrize("syntax", ["xml", "http"])
def test_text_that_does_not_fit_its_type_stays_text(syntax):
    """So that a wrong type shows as one."""
    convention = convention_of(syntax, auth="none")
    text = {"xml": '<call tool="search_hives"><limit>many</limit></call>', "http": "GET /hives/search?limit=many"}

    assert parse_call(convention, text[syntax], TOOLS).arguments == {"limit": "many"}


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_unknown_tools_are_named(syntax):
    """The name that was called stands in the answer; HTTP has method and path instead."""
    convention = convention_of(syntax, auth="none")
    text = render_call(convention, HARVEST, ARGUMENTS)

    parsed = parse_call(convention, text, {"get_hive": GET_HIVE})

    assert parsed.tool == ("POST /hives/HIV-1/harvest" if syntax == "http" else "harvest_honey")
    assert parsed.fault == Violation("unknown_tool", "tool.unknown")


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("auth", ["none", "argument", "header"])
def test_credentials_come_back_or_are_absent(syntax, auth):
    """A credential is no argument; without one, or where none is asked for, there is none."""
    if (syntax, auth) == ("python", "header"):
        return
    convention = convention_of(syntax, auth=auth)

    signed = parse_call(convention, render_call(convention, HARVEST, ARGUMENTS, "key-7"), TOOLS)
    unsigned = parse_call(convention, render_call(convention, HARVEST, ARGUMENTS), TOOLS)

    assert (signed.arguments, signed.credential) == (ARGUMENTS, None if auth == "none" else "key-7")
    assert (unsigned.arguments, unsigned.credential) == (ARGUMENTS, None)


def values_of(schema, text):
    """Values that fit a schema of one type (or that type and null)."""
    if "anyOf" in schema:
        return st.none() | values_of(schema["anyOf"][0], text)
    kind = schema["type"]
    if isinstance(kind, list):
        return st.none() | values_of({**schema, "type": kind[0]}, text)
    if kind == "array":
        return st.lists(values_of(schema["items"], text), max_size=3)
    if kind == "object":
        return st.fixed_dictionaries({}, optional={k: values_of(s, text) for k, s in schema["properties"].items()})
    whole = st.integers(-(2**63), 2**63 - 1)
    number = st.floats(allow_nan=False, allow_infinity=False) | whole
    return {"string": text, "integer": whole, "number": number, "boolean": st.booleans(), "null": st.none()}[kind]


def schemas(text):
    kinds = ["string", "integer", "number", "boolean", ["string", "null"], ["integer", "null"]]
    keys = st.sampled_from(["item", "arg", "from", "class", "a-b", "A", "näme", "a b", "_x", "a[b]"]) | text.filter(len)
    leaves = st.sampled_from([{"type": kind} for kind in kinds])
    return st.recursive(
        leaves,
        lambda inner: (
            st.builds(lambda item: {"type": "array", "items": item}, inner)
            | st.builds(lambda item: {"anyOf": [item, {"type": "null"}]}, inner.filter(lambda s: s.get("type") != "x"))
            | st.builds(lambda items: {"type": "object", "properties": items}, st.dictionaries(keys, inner, max_size=3))
        ),
        max_leaves=5,
    )


@pytest.mark.parametrize("syntax", SYNTAXES)
@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_calls_come_back_as_they_were_written(syntax, data):
    """Types, unicode, quotes, newlines, nesting and odd names included, in every syntax."""
    text = st.text(IN_XML if syntax == "xml" else ANY, max_size=12) | st.sampled_from(["null", "5", "true", "[]", "{}"])
    names = st.text(IN_XML if syntax == "xml" else ANY, min_size=1, max_size=5)
    parameters = data.draw(st.dictionaries(names | st.just("class"), schemas(text), max_size=4))
    method = data.draw(st.sampled_from(["GET", "POST", "DELETE"]))
    definition = define({"hive_id": {"type": "string"}, **parameters}, http=(method, "/hives/{hive_id}/harvest"))
    arguments = data.draw(values_of(definition.parameters | {"type": "object"}, text))
    convention = convention_of(syntax, auth="none", json_spacing=data.draw(st.sampled_from(["compact", "spaced"])))

    parsed = parse_call(convention, render_call(convention, definition, arguments), {definition.name: definition})

    assert parsed.fault is None
    assert parsed.tool == "harvest_honey"
    assert ordered(parsed.arguments) == ordered(arguments)


def ordered(value):
    """Bytes that tell 1 from 1.0 and true, whatever the order of keys."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_spoilt_calls_cannot_be_parsed(syntax):
    """Whatever was broken, the one fault is call.unparsable, and nothing else is told."""
    convention = convention_of(syntax, auth="none")
    text = render_call(convention, HARVEST, ARGUMENTS)

    spoilt = [spoil_call(text, Random(seed)) for seed in range(200)]

    for one in spoilt:
        parsed = parse_call(convention, one, TOOLS)
        assert (parsed.tool, parsed.arguments) == (None, None)
        assert parsed.fault == Violation("malformed_call", "call.unparsable")
    assert len(set(spoilt)) > 10
    assert spoilt[:5] == [spoil_call(text, Random(seed)) for seed in range(5)]


HOSTILE = {
    "openai": ["", "[]", '{"name":5}', '{"name":"x","arguments":[1]}', '{"name":"x","arguments":' + "[" * 5000],
    "mcp": ["{}", '{"method":"tools/list","params":{}}', '{"method":"tools/call","params":[]}'],
    "http": ["GET hives", "FETCH /hives", "GET /x?[a]=1", "GET /x?a=1&a[b]=2", "POST /x\n\n[1]", "POST /x?a=1\n\n{"],
    "python": [
        "f(1)",
        "f(a=g())",
        "f(a=x)",
        "f(a=1+1)",
        "f(**[])",
        "f(a=1, **{'a': 2})",
        "f(a=-True)",
        "f(a=1j)",
        "f(a=b'x')",
        "f(a=1e999)",
        "f(a='\\ud800')",
        "f()()",
        "f(a={1: 2})",
        "f(a=(1,))",
        "f(a=f'{x}')",
        "f(a=" + "[" * 60 + "]" * 60 + ")",
        "f(a=" + "-" * 9000 + "1)",
        "f(a=" + "9" * 5000 + ")",
        "(lambda: 1)()",
        "__import__('os').system('true')",
    ],
    "xml": [
        "<call/>",
        '<call tool="x">text</call>',
        '<call tool="x"><a>1</a><a>2</a></call>',
        '<call tool="x"><a>1<b/>2</a></call>',
        '<!DOCTYPE x [<!ENTITY a "b">]><call tool="x"><a>&a;</a></call>',
        '<call tool="x"><a>&#xD800;</a></call>',
        '<call tool="x">' + "<a>" * 60 + "</a>" * 60 + "</call>",
    ],
    "react": ["Action: x", "Action: x\nAction Input: [1]", "Thought: y\nAction: x\nAction Input: {}"],
}


@pytest.mark.parametrize(("syntax", "text"), [(syntax, text) for syntax, texts in HOSTILE.items() for text in texts])
def test_hostile_texts_are_unparsable(syntax, text):
    """Code, bombs, surrogates, repeats and wrong shapes end as one fault, not as an exception."""
    assert parse_call(convention_of(syntax, auth="none"), text, TOOLS).fault.fault == "call.unparsable"


@pytest.mark.parametrize("syntax", SYNTAXES)
@given(text=st.text(max_size=60) | st.from_regex(r"[\[\]{}()<>/=&?\"'a:,\\ -]{0,40}"))
@settings(max_examples=100, deadline=None)
def test_any_text_is_answered(syntax, text):
    """No text raises."""
    parsed = parse_call(convention_of(syntax), text, TOOLS)

    assert parsed.fault is None or parsed.fault.fault in ("call.unparsable", "tool.unknown")


def test_endless_texts_are_unparsable():
    """Length is bounded before anything is read."""
    text = '{"name":"get_hive","arguments":{"hive_id":"' + "x" * MAX_CHARS + '"}}'

    assert parse_call(convention_of("openai"), text, TOOLS).fault.fault == "call.unparsable"


def test_arguments_may_be_json_text_or_left_out():
    """As some agents send them."""
    convention = convention_of("openai", auth="none")

    as_text = parse_call(convention, '{"name": "get_hive", "arguments": "{\\"hive_id\\": \\"H\\"}"}', TOOLS)
    left_out = parse_call(convention, ' {"name": "get_hive"}\n', TOOLS)

    assert as_text.arguments == {"hive_id": "H"}
    assert left_out.arguments == {}
