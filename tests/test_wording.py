"""Responses: bodies and errors under a convention come back as they were; directives degrade them in stated ways."""

from contextlib import suppress
from dataclasses import replace
from random import Random

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carg.errors import RecordError
from carg.records import Definition, Directive, ErrorSpec, Response, ToolError, Violation
from carg.world.conventions import FACTORS, draw_convention, make_convention
from carg.world.directives import degrade, settle_directive
from carg.world.markup import read_text, write_text
from carg.world.wording import (
    WORD_FACTORS,
    answer,
    fault_code,
    read_response,
    refuse,
    render_body,
    schema_error,
    style_code,
)

PLAIN = {factor: next(iter(values)) for factor, values in FACTORS.items()}
RETURNS = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "honey_kg": {"type": "number"},
        "frames": {"type": "integer"},
        "calm": {"type": "boolean"},
        "note": {"type": ["string", "null"]},
        "queen": {"type": ["object", "null"], "properties": {"year": {"type": "integer"}}},
        "tags": {"type": "array", "items": {"type": "string"}},
        "items": {"type": "array", "items": {"type": "object", "properties": {"no": {"type": "integer"}}}},
    },
}
INACTIVE = ErrorSpec("hive_not_active", "state.order", 409, "Hive {id} is not active")
HIVE = Definition(
    "id", "bees/hives/get_hive", "get_hive", "", "", {}, RETURNS, (INACTIVE,), "read", ("GET", "/h"),
    records_result="items",
)  # fmt: skip
BODY = {
    "id": "HIV-1",
    "honey_kg": 12.5,
    "frames": 10,
    "calm": True,
    "note": None,
    "queen": {"year": 2023},
    "tags": [],
    "items": [{"no": 1}, {"no": 2}, {"no": 3}],
}
IN_XML = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff", include_characters="\n\r\t")
TEXT = st.text(IN_XML, max_size=12) | st.sampled_from(
    ["", " ", "null", "5", "a: b", "- x", "[]", '"', "x:", "Error 1 a: b"]
)
BODIES = st.fixed_dictionaries(
    {"id": TEXT},
    optional={
        "honey_kg": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9),
        "frames": st.integers(-(2**63), 2**63 - 1),
        "calm": st.booleans(),
        "note": st.none() | TEXT,
        "queen": st.none() | st.fixed_dictionaries({}, optional={"year": st.integers(0, 3000)}),
        "tags": st.lists(TEXT, max_size=3),
        "items": st.lists(st.fixed_dictionaries({}, optional={"no": st.integers(-99, 99)}), max_size=3),
    },
)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=10) | TEXT,
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | TEXT, inner, max_size=3),
    max_leaves=12,
)  # fmt: skip
CONVENTIONS = st.integers(0, 10**6).map(lambda seed: draw_convention(Random(seed)))


def convention_of(**factors):
    return make_convention({**PLAIN, **factors})


def test_a_body_in_each_envelope():
    """Word for word."""
    body = {"id": "HIV-1", "note": None}
    texts = {envelope: render_body(convention_of(envelope=envelope), HIVE, body) for envelope in FACTORS["envelope"]}

    assert texts == {
        "bare": '{"id":"HIV-1","note":null}',
        "data": '{"data":{"id":"HIV-1","note":null}}',
        "result_status": '{"status":"ok","result":{"id":"HIV-1","note":null}}',
        "ok_flag": '{"ok":true,"payload":{"id":"HIV-1","note":null}}',
        "mcp_content": '{"content":[{"type":"text","text":"{\\"id\\":\\"HIV-1\\",\\"note\\":null}"}],"isError":false}',
        "structured": '{"structuredContent":{"id":"HIV-1","note":null},"isError":false}',
    }


def test_an_error_in_each_shape():
    """Word for word; the flag of the envelope stands beside the shape."""
    error = ToolError("bad_format", "schema.format", 422, "When is not a date", "when")
    texts = {shape: refuse(convention_of(error_shape=shape), error).text for shape in FACTORS["error_shape"]}

    assert texts == {
        "code_message": '{"error":{"code":"bad_format","message":"When is not a date","field":"when"}}',
        "problem_json": '{"type":"about:blank","title":"Unprocessable Content","status":422,'
        '"detail":"When is not a date","code":"bad_format","field":"when"}',
        "errors_list": '{"errors":[{"code":"bad_format","message":"When is not a date","field":"when"}]}',
        "flat": '{"error":"bad_format","message":"When is not a date","field":"when"}',
        "plain_text": "Error 422 bad_format [when]: When is not a date",
        "mcp_is_error": '{"content":[{"type":"text","text":"bad_format [when]: When is not a date"}],"isError":true}',
    }
    flagged = refuse(convention_of(error_shape="flat", envelope="ok_flag", nulls="omitted"), replace(error, field=None))
    assert flagged.text == '{"ok":false,"error":"bad_format","message":"When is not a date"}'


def test_a_body_in_xml_and_text():
    """Lists, nested records, null and empty lists have a form in both."""
    xml = render_body(convention_of(media="xml", json_spacing="indented", envelope="data"), HIVE, BODY)
    text = render_body(convention_of(media="text"), HIVE, {**BODY, "id": "5"})

    assert xml == (
        "<response>\n  <data>\n    <id>HIV-1</id>\n    <honey_kg>12.5</honey_kg>\n    <frames>10</frames>\n"
        '    <calm>true</calm>\n    <note nil="true"/>\n    <queen>\n      <year>2023</year>\n    </queen>\n'
        '    <tags type="array"/>\n    <items>\n      <item>\n        <no>1</no>\n      </item>\n      <item>\n'
        "        <no>2</no>\n      </item>\n      <item>\n        <no>3</no>\n      </item>\n    </items>\n"
        "  </data>\n</response>"
    )
    assert text == (
        'id: "5"\nhoney_kg: 12.5\nframes: 10\ncalm: true\nnote: null\nqueen:\n  year: 2023\ntags: []\n'
        "items:\n  - no: 1\n  - no: 2\n  - no: 3"
    )


def test_a_status_line_tells_what_came_of_it():
    """Created for creations; read back, it gives an error its status."""
    convention = convention_of(syntax="http", status_line="shown")
    error = ToolError("hive_not_active", "state.order", 409, "Hive is not active")

    assert render_body(convention, replace(HIVE, effect="create"), {}) == "HTTP/1.1 201 Created\n\n{}"
    assert refuse(convention, error).text.startswith("HTTP/1.1 409 Conflict\n\n{")
    assert read_response(convention, refuse(convention, error).text, None).error.status == 409


@given(convention=CONVENTIONS, body=BODIES)
@settings(max_examples=400, deadline=None)
def test_bodies_come_back(convention, body):
    """Under any convention: envelope, medium, spacing, nulls; with the types that `returns` gives."""
    response = answer(convention, HIVE, body)

    read = read_response(convention, response.text, HIVE)

    assert read.ok
    assert orjson.dumps(read.body) == orjson.dumps(response.body)
    assert read == response


MESSAGES = st.text(IN_XML, min_size=1, max_size=30)


@given(
    convention=CONVENTIONS,
    message=MESSAGES,
    field=st.none() | st.from_regex(r"[a-z]{1,5}(\.[a-zA-Z-]{1,5})?", fullmatch=True),
    fault=st.sampled_from([fault for fault in WORD_FACTORS if not fault.startswith("uns")]),
)
@settings(max_examples=400, deadline=None)
def test_errors_come_back(convention, message, field, fault):
    """Code, words and field under any convention; class and status where the code belongs to one class."""
    factors = convention.factors
    single = factors["schema_codes"] == "single" and fault.startswith("schema.")
    error = schema_error(convention, Violation("", fault, field), detail={"actor": "kim"})
    error = replace(error, message=message)

    read = read_response(convention, refuse(convention, error).text, HIVE)

    assert not read.ok
    assert read.error == replace(error, fault="" if single else fault)


@given(value=ANY_JSON)
@settings(max_examples=300, deadline=None)
def test_indented_text_tells_its_types_by_itself(value):
    """Any JSON value comes back from text without a schema."""
    assert orjson.dumps(read_text(write_text(value))) == orjson.dumps(value)


def test_errors_of_the_tool_itself_are_known_by_their_code():
    """Class and status come from the definition where the text shows neither."""
    convention = convention_of()
    error = ToolError("hive_not_active", "state.order", 409, "Hive HIV-1 is not active")

    assert read_response(convention, refuse(convention, error).text, HIVE).error == error
    assert read_response(convention, refuse(convention, error).text, None).error == replace(error, fault="", status=0)


@pytest.mark.parametrize("envelope", [name for name in FACTORS["envelope"] if name != "bare"])
@pytest.mark.parametrize(
    "text", ["", "{", "null", "[]", '{"id":"HIV-1"}', "I am sorry", '{"content":[],"isError":true}']
)
def test_texts_of_another_kind_are_refused(envelope, text):
    """Nothing that lacks the envelope is taken for a body."""
    shape = "mcp_is_error" if envelope in ("mcp_content", "structured") else "code_message"

    with pytest.raises(RecordError):
        read_response(convention_of(envelope=envelope, error_shape=shape), text, HIVE)


@given(convention=CONVENTIONS, text=st.text(max_size=40))
@settings(max_examples=150, deadline=None)
def test_any_text_is_read_or_refused(convention, text):
    """No text raises anything but RecordError."""
    with suppress(RecordError):
        assert isinstance(read_response(convention, text, HIVE), Response)


@pytest.mark.parametrize(
    ("fault", "detail", "code", "message", "status"),
    [
        ("schema.missing", {}, "missing_parameter", "Missing required parameter 'kg'", 400),
        ("schema.unknown", {}, "unknown_parameter", "Unknown parameter 'kg'", 400),
        (
            "schema.type",
            {"expected": ["number", "null"], "got": "3"},
            "wrong_type",
            "'kg' must be of type number or null, not string",
            400,
        ),
        ("schema.enum", {"allowed": ["a", 2], "got": "{id}"}, "value_not_allowed", "'kg' must be one of: a, 2", 400),
        ("schema.range", {"keyword": "maximum", "limit": 2.5}, "out_of_range", "'kg' must be at most 2.5", 400),
        ("schema.range", {"keyword": "multipleOf", "limit": 5}, "out_of_range", "'kg' must be a multiple of 5", 400),
        ("schema.format", {"format": "date"}, "bad_format", "'kg' is not a valid date", 400),
        ("state.not_found", {"resource": "hive", "id": "{field}"}, "not_found", "No hive with id '{field}'", 404),
        ("state.forbidden", {"actor": "kim"}, "forbidden", "Access denied for 'kim'", 403),
        ("state.forbidden", {"actor": None}, "not_authenticated", "The call does not say who makes it", 401),
        ("tool.unknown", {"tool": "get_hove"}, "unknown_tool", "Unknown tool 'get_hove'", 404),
        ("call.unparsable", {}, "malformed_call", "The call could not be parsed", 400),
    ],
)  # fmt: skip
def test_faults_in_the_words_of_the_convention(fault, detail, code, message, status):
    """Each class has its code, words and status; given text is never read as a template."""
    error = schema_error(convention_of(), Violation("", fault, "kg"), detail=detail)

    assert error == ToolError(code, fault, status, message, "kg")


def test_words_bend_with_the_factors_that_compose_them():
    """Noun, quotes, full stop, code style, status and list style are independent."""
    convention = convention_of(
        noun="field", quote="`", full_stop=".", code_style="upper_snake", schema_status="422", allowed_style="or",
        words_enum="The {noun} {field} accepts only {allowed}",
    )  # fmt: skip

    error = schema_error(convention, Violation("", "schema.enum", "kind"), detail={"allowed": ["a", "b", "c"]})

    assert error.message == "The field `kind` accepts only a, b or c."
    assert (error.code, error.status) == ("VALUE_NOT_ALLOWED", 422)


def test_a_code_that_is_known_is_kept():
    """A tool's own code for not found goes before the convention's."""
    error = schema_error(convention_of(), Violation("hive_not_found", "state.not_found"), detail={})

    assert error.code == "hive_not_found"


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ("snake", "hive_not_active"),
        ("upper_snake", "HIVE_NOT_ACTIVE"),
        ("dotted", "hive.not_active"),
        ("numbered", "E2489 hive_not_active"),
    ],
)
def test_codes_in_each_style(style, expected):
    """Numbers follow from the code, so that they stay the same everywhere."""
    assert style_code(convention_of(code_style=style), "hive_not_active") == expected


def test_codes_of_different_faults_differ():
    """Under every style, unless one code stands for the whole schema."""
    for style in FACTORS["code_style"]:
        factors = {**PLAIN, "code_style": style}
        assert len({fault_code(factors, fault) for fault in WORD_FACTORS}) == len(WORD_FACTORS)
        assert len({fault_code({**factors, "schema_codes": "single"}, fault) for fault in WORD_FACTORS}) == 6


RESPONSE = answer(convention_of(), HIVE, BODY)


def degraded(fault, detail=None, *, seed=3, response=RESPONSE, **factors):
    return degrade(convention_of(**factors), HIVE, response, Directive(fault, detail or {}, seed))


@pytest.mark.parametrize("fault", ["timeout", "rate_limit", "server_error", "truncated", "missing_field", "partial"])
def test_degrading_is_deterministic_and_needs_only_the_settled_detail(fault):
    """The same seed gives the same response, and so does the settled directive under any other seed."""
    settled = settle_directive(HIVE, RESPONSE, Directive(fault, {}, 11))

    one = degraded(fault, seed=11)

    assert one == degraded(fault, seed=11)
    assert one == degraded(fault, settled.detail, seed=99)
    assert one.text != RESPONSE.text
    assert settled.detail.keys() == {
        {"timeout": "after_s", "rate_limit": "retry_after_s", "server_error": "status", "truncated": "share",
         "missing_field": "pointer", "partial": "kept"}[fault]
    }  # fmt: skip


def test_outages_are_errors_with_their_numbers():
    """Seconds stand in the words; the code follows the convention's style."""
    late = degraded("timeout", {"after_s": 30}).error
    busy = degraded("rate_limit", {"retry_after_s": 5}, code_style="upper_snake").error
    down = degraded("server_error", {"status": 503}).error

    assert (late.code, late.status, late.message) == ("timeout", 504, "The request timed out after 30 seconds.")
    assert (busy.code, busy.status, busy.message) == (
        "RATE_LIMITED", 429, "Too many requests. Retry after 5 seconds."
    )  # fmt: skip
    assert (down.code, down.status) == ("service_unavailable", 503)


def test_what_is_lost_is_what_the_detail_names():
    """A share of the text, one member, the tail of the list; all else stays."""
    cut = degraded("truncated", {"share": 0.5})
    lost = degraded("missing_field", {"pointer": "/items/1/no"})
    fewer = degraded("partial", {"kept": 1})

    assert (cut.text, cut.body) == (RESPONSE.text[: len(RESPONSE.text) // 2], None)
    assert lost.body == {**BODY, "items": [{"no": 1}, {}, {"no": 3}]}
    assert fewer.body == {**BODY, "items": [{"no": 1}]}
    assert degraded("stale", {"body": {"id": "old"}}).body == {"id": "old"}


def test_nothing_to_lose_leaves_the_response():
    """A body without fields or list, and a refusal, stay as they are."""
    bare = answer(convention_of(), HIVE, [])
    refusal = refuse(convention_of(), ToolError("x", "state.order", 409, "no"))

    assert degraded("missing_field", response=bare) == bare
    assert degraded("partial", response=bare) == bare
    assert degraded("partial", response=refusal) == refusal


def test_a_stale_answer_needs_an_older_body():
    """It cannot be made up."""
    with pytest.raises(RecordError, match="stale"):
        degraded("stale")
