"""Calls drawn for tools without a world: proved labels, pairs, look-alikes."""

import json
import os
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from carg.errors import RecordError
from carg.importing import read_tools
from carg.records import LOOKALIKES, Tool
from carg.schemas import faults
from carg.siblings import collect_lexicon
from carg.stages import calls as stage
from carg.stages.calls import draw_calls, draw_pairs

REAL = Path(os.environ.get("CARG_REALDATA", Path(__file__).parents[2] / "shared" / "realdata"))
PARAMETERS = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "City, e.g. 'Lisbon'"},
        "days": {"type": "integer", "minimum": 1, "maximum": 14},
        "units": {"type": "string", "enum": ["metric", "imperial"]},
        "since": {"type": "string", "format": "date"},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
}
LEXICON = {"units": ({"type": "string", "enum": ["metric", "kelvin"]},), "lang": ({"type": "string", "enum": ["en"]},)}


def make_tool(parameters: dict = PARAMETERS) -> Tool:
    """A weather tool."""
    return Tool(
        "t1", "imported", "weather", "get_forecast", "Forecast", "", parameters, None, "read", origin="imported"
    )


def draw(seed: int = 1, **knobs: object) -> list:
    """Calls of the weather tool."""
    numbers = {"n_valid": 20, "n_invalid": 60, "n_lookalike": 10} | knobs
    return draw_calls(make_tool(), Random(seed), lexicon=LEXICON, others=["get_alerts", "list_stations"], **numbers)


def test_as_many_calls_as_asked_for() -> None:
    """Valid, invalid and look-alikes in their numbers, no text twice."""
    calls = draw()

    assert Counter(call.label for call in calls) == {"valid": 30, "invalid": 60}
    assert len({call.text for call in calls}) == 90
    assert {call.lookalike for call in calls} == {None, *LOOKALIKES} - {"ok.empty_result"}


def test_every_label_is_proved_from_the_text() -> None:
    """Reading the text back gives the tool, the arguments, and the faults that the label claims."""
    for call in draw():
        if call.tool is None:
            with pytest.raises(json.JSONDecodeError):
                json.loads(call.text)
            assert [item.fault for item in call.violates] == ["call.unparsable"]
            continue
        read = json.loads(call.text)
        assert (read["name"], read["arguments"]) == (call.tool, call.arguments)
        assert [*read["arguments"]] == [*call.arguments]
        if call.tool == "get_forecast":
            assert faults(PARAMETERS, read["arguments"]) == call.violates
            assert (call.label == "invalid") is bool(call.violates)
        else:
            assert [item.fault for item in call.violates] == ["tool.unknown"]


def test_every_class_is_reached() -> None:
    """All eight classes of a tool that offers them, with two faults in some calls and junk in few."""
    calls = [call for seed in range(6) for call in draw(seed) if call.label == "invalid"]
    two = sum(len(call.violates) > 1 for call in calls)
    blunt = sum((call.mutation or "").startswith("blunt:") for call in calls)

    assert {call.violates[0].fault for call in calls} == set(stage.WEIGHTS)
    assert 0.04 < two / len(calls) < 0.16
    assert 0 < blunt / len(calls) < 0.1


def test_key_order_does_not_depend_on_the_label() -> None:
    """About as many invalid calls as valid ones leave the order of the schema."""
    calls = [call for seed in range(6) for call in draw(seed, n_valid=60, n_lookalike=0)]
    known = [*PARAMETERS["properties"]]
    moved = Counter()
    total = Counter()
    for call in calls:
        keys = [key for key in call.arguments or () if key in known]
        if call.tool == "get_forecast" and len(keys) > 1:
            total[call.label] += 1
            moved[call.label] += keys != sorted(keys, key=known.index)

    assert abs(moved["valid"] / total["valid"] - moved["invalid"] / total["invalid"]) < 0.12


def test_the_same_seed_gives_the_same_calls() -> None:
    """Calls depend on tool, lexicon and seed alone."""
    assert draw(5) == draw(5)
    assert draw(5) != draw(6)


def test_a_convention_words_the_calls() -> None:
    """`render` writes the text; the arguments stay what they were."""
    calls = draw(render=lambda call: f"<{call['name']}>{json.dumps(call['arguments'])}", n_invalid=10)

    assert all(call.text.startswith("<") for call in calls)
    assert all(call.text == f"<{call.tool}>{json.dumps(call.arguments)}" for call in calls if call.tool)


def test_hints_become_values() -> None:
    """Known values are used under the names they are known by."""
    calls = draw(hints={"city": ["Porto Covo"]}, n_invalid=0, n_lookalike=0)

    assert sum(call.arguments["city"] == "Porto Covo" for call in calls) > 5


def test_pairs_differ_in_the_definition_only() -> None:
    """One text: refused by the tool, accepted by its sibling."""
    pairs = draw_pairs(make_tool(), Random(2), count=15, lexicon=LEXICON)

    assert len(pairs) == 15
    for pair in pairs:
        assert pair.refused.text == pair.accepted.text
        assert (pair.refused.label, pair.accepted.label) == ("invalid", "valid")
        assert faults(pair.tool.parameters, pair.refused.arguments) == pair.refused.violates
        assert faults(pair.sibling.parameters, pair.accepted.arguments) == ()


def test_a_tool_without_parameters_gets_what_it_offers() -> None:
    """One valid call; broken texts and wrong names are all that can be invalid."""
    calls = draw_calls(
        make_tool({"type": "object", "properties": {}}), Random(1), n_valid=3, n_invalid=4, n_lookalike=2, others=["x"]
    )

    assert sum(call.label == "valid" for call in calls) == 1
    assert {item.fault for call in calls for item in call.violates} <= {"call.unparsable", "tool.unknown"}


def test_a_tool_that_nothing_satisfies_gets_no_calls() -> None:
    """No valid arguments, no calls."""
    schema = {"type": "object", "properties": {"n": {"type": "integer", "enum": ["one"]}}, "required": ["n"]}

    assert draw_calls(make_tool(schema), Random(1), n_valid=2, n_invalid=0, n_lookalike=2) == []


def test_a_label_that_the_validator_denies_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call drawn as valid that is not stops the stage rather than become data."""
    monkeypatch.setattr(stage, "fill", lambda *args, **knobs: {"days": 99})

    with pytest.raises(RecordError, match="drawn as valid"):
        draw(n_invalid=0, n_lookalike=0)


@pytest.mark.realdata
@pytest.mark.skipif(not REAL.is_dir(), reason="CARG_REALDATA names no folder")
@pytest.mark.parametrize(("source", "share"), [("livemcpbench/tools.json", 0.98), ("github_mcp_toolsnaps", 1.0)])
def test_real_tools_get_valid_and_invalid_calls(source: str, share: float) -> None:
    """Nearly every real tool offers both; each label was proved while it was drawn."""
    tools = read_tools(REAL / source).tools
    lexicon, names = collect_lexicon(tools), [tool.name for tool in tools]
    wanted = {"n_valid": 1, "n_invalid": 1, "n_lookalike": 0, "lexicon": lexicon, "others": names}
    labels = [{call.label for call in draw_calls(tool, Random(tool.id), **wanted)} for tool in tools]

    assert sum(found == {"valid", "invalid"} for found in labels) >= share * len(tools)
