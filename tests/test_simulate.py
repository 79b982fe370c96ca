"""`carg simulate`: the world keeps its state, answers of others are judged, models read what they were taught."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from loopback import KEY, Loopback, serve
from tiny_run import Carg, carg, domains, made_once, run

from carg.errors import ConfigError, RecordError
from carg.scene import open_book
from carg.simulate import Simulation, example_call, judge_answer, open_simulation
from carg.world.state import State
from carg.world.syntax import parse_call
from carg.world.wording import read_response

__all__ = ["carg", "domains", "made_once", "run"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    with serve() as running:
        monkeypatch.setenv("CARG_API_KEY", KEY)
        yield running


def presented(simulation: Simulation, operation: str) -> Any:
    """The shown definition of an operation."""
    return next(found for found in simulation.scene.definitions.values() if found.key.endswith(f"/{operation}"))


def body_of(simulation: Simulation, call: str, text: str) -> Any:
    """What an answer means."""
    convention = simulation.scene.instance.convention
    parsed = parse_call(convention, call, simulation.scene.definitions)
    return read_response(convention, text, simulation.scene.definitions.get(parsed.tool or ""))


def naming(definition: Any, key: str) -> str:
    """A call of a tool with the id of a record, as JSON; the id may stand deeper."""
    arguments: Any = key
    for name in reversed(definition.id_argument.split(".")):
        arguments = {name: arguments}
    return orjson.dumps({"tool": definition.name, "arguments": arguments}).decode()


def operations(simulation: Simulation) -> set[str]:
    """The operations of the tools shown."""
    return {found.key.rpartition("/")[2] for found in simulation.scene.definitions.values()}


@pytest.mark.parametrize("instance", range(3))
def test_the_world_keeps_what_a_chat_changes(run: Path, instance: int) -> None:
    """A record that one call creates, the next one gets, in every convention; another chat does not know it."""
    found = [item for item in open_book(run).instances.values() if item.service == "workshop"][instance]
    opened = (open_simulation(run, found.id, tool="create_tool", seed=seed) for seed in range(50))
    simulation = next(item for item in opened if "get_tool" in operations(item))
    create = example_call(simulation)
    made = body_of(simulation, create, simulation.answer_by_world(create).response.text)
    key = made.body[presented(simulation, "create_tool").id_result]
    getter = presented(simulation, "get_tool")
    get = simulation.read_call(naming(getter, key))
    assert simulation.scene.opening is not None
    fresh = Simulation(simulation.scene, State(simulation.scene.opening.tables, simulation.scene.opening.now))
    got = body_of(simulation, get, simulation.answer_by_world(get).response.text)

    assert made.ok
    assert got.ok, got
    assert got.body[getter.id_result] == key
    assert [call for call, _ in simulation.turns] == [create, get]
    assert len(simulation.messages("next")) == 6
    assert not body_of(fresh, get, fresh.answer_by_world(get).response.text).ok


def test_the_same_seed_opens_the_same_simulation(run: Path) -> None:
    """What the model reads, the example, and the world's answer; another seed shows other things."""
    one, two = open_simulation(run, "counter", seed=3), open_simulation(run, "counter", seed=3)
    call = example_call(one, 3)

    assert one.system == two.system
    assert example_call(two, 3) == call
    assert one.answer_by_world(call).response == two.answer_by_world(call).response
    assert open_simulation(run, "counter", seed=4).system != one.system


def test_a_service_is_found_by_every_name_it_has(run: Path) -> None:
    """Instance id, domain/service, service, domain; a tool by its name, with its service or domain."""
    first = open_simulation(run, "counter").scene.instance

    for name in (first.id, "tool_library/counter", "counter"):
        assert open_simulation(run, name).scene.instance == first
    assert open_simulation(run, "tool_library").scene.instance == open_simulation(run, None).scene.instance
    for tool in ("scrap", "workshop/scrap", "tool_library/workshop/scrap"):
        opened = open_simulation(run, None, tool=tool)
        assert opened.scene.instance.service == "workshop"
        assert presented(opened, "scrap")
    example = example_call(open_simulation(run, "workshop", tool="drop_speed"))
    opened = open_simulation(run, "workshop", tool="drop_speed")
    parsed = parse_call(opened.scene.instance.convention, example, opened.scene.definitions)
    assert parsed.tool == presented(opened, "drop_speed").name
    with pytest.raises(ConfigError, match="no tool 'rap'"):
        open_simulation(run, None, tool="rap")


@pytest.mark.parametrize("service", ["counter", "workshop"])
def test_answers_of_others_are_judged_by_their_form(run: Path, service: str) -> None:
    """The world's answer is a valid body or an error; prose, other bodies and nothing are told for what they are."""
    simulation = open_simulation(run, service)
    call = example_call(simulation)
    answer = simulation.answer_by_world(call).response.text

    assert judge_answer(simulation, call, answer) == "valid body"
    for foreign in ("I'm afraid I can't do that.", "", '{"weather": "fine"}', "[1, 2", "null"):
        assert judge_answer(simulation, call, foreign) not in ("valid body", "error"), foreign
    broken = "certainly not a call"
    assert judge_answer(simulation, broken, simulation.answer_by_world(broken).response.text) == "error"


def test_calls_are_read_in_both_spellings(run: Path) -> None:
    """Tool and arguments are put into the convention's syntax; its own syntax, and nonsense, pass as they are."""
    simulation = open_simulation(run, "counter", tool="get_member")
    definition = presented(simulation, "get_member")
    plain = {"arguments": orjson.loads(naming(definition, "MEM-0001"))["arguments"]}
    shown = simulation.read_call(naming(definition, "MEM-0001"))

    for name, key in (("get_member", "tool"), (definition.name, "name")):
        assert simulation.read_call(orjson.dumps({key: name, **plain}).decode()) == shown
    assert parse_call(simulation.scene.instance.convention, shown, simulation.scene.definitions).tool == definition.name
    assert simulation.read_call(simulation.read_call(shown)) == simulation.read_call(shown)
    for text in ("hello", "[1]", '{"a": 1}', "{"):
        assert simulation.read_call(text) == text
    with pytest.raises(RecordError, match=r"no tool 'get_membr'"):
        simulation.read_call(orjson.dumps({"tool": "get_membr", **plain}).decode())


def test_a_chat_goes_on_after_a_wrong_line(run: Path, carg: Carg, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blank lines are nothing, a tool that is not shown is told on stderr, the state stays."""
    simulation = open_simulation(run, "counter")
    call = example_call(simulation).replace("\n", " ")
    lines = ["", '{"tool": "nosuch", "arguments": {}}', "mumble", call]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines) + "\n"))

    code, out, err = carg("--json", "simulate", "--run", run, "--service", "counter", "--chat")

    assert code == 0
    assert err.startswith("error: no tool 'nosuch' is shown here\nmend: ")
    assert out.count('"call":') == 2


def test_models_read_what_they_were_taught_and_stand_beside_the_world(server: Loopback, run: Path, carg: Carg) -> None:
    """The model gets system text and calls as rendered for training; its answer is shown beside the world's."""
    seen: list[Any] = []
    server.answer = lambda messages: seen.append(messages) or {"weather": "fine"}
    simulation = open_simulation(run, "counter")
    words = ("simulate", "--run", run, "--service", "counter", "-b", "world", "-b", "m", "--api-base", server.url)

    code, out, err = carg("--json", *words)
    shown = orjson.loads(out)

    assert (code, err) == (0, "")
    assert seen == [simulation.messages(shown["call"])]
    assert [item["backend"] for item in shown["answers"]] == ["world", "m"]
    assert shown["answers"][0]["form"] == "valid body"
    assert shown["answers"][1]["form"] != "valid body"
    assert carg(*words)[1].startswith("call:  ")
    assert carg("simulate", "--run", run, "--service", "counter", "--system")[1].strip() == simulation.system.strip()


def test_a_bare_tool_list_has_a_stand_in_that_remembers(tmp_path: Path, carg: Carg) -> None:
    """With no world and no model, what was created is found under its id, and gone once it is deleted."""
    text = {"type": "string", "maxLength": 20}
    issue = {"issue_id": text, "title": text}
    shapes = {"create_issue": ({"title": text}, issue), "get_issue": ({"issue_id": text}, issue)}
    shapes["delete_issue"] = ({"issue_id": text}, {"issue_id": text})
    tools = [
        {"name": name, "description": f"Does it: {name}.", "inputSchema": whole(taken), "outputSchema": whole(given)}
        for name, (taken, given) in shapes.items()
    ]
    (tmp_path / "desk.json").write_bytes(orjson.dumps({"tools": tools}))
    assert carg("import", tmp_path / "desk.json", "--run", tmp_path / "run")[0] == 0
    simulation = open_simulation(tmp_path / "run", None)

    def call(tool: str, **arguments: str) -> Any:
        said = simulation.read_call(orjson.dumps({"tool": tool, "arguments": arguments}).decode())
        return simulation.answer_by_stand_in(said)

    made = call("create_issue", title="Leak in hall B").body
    assert made["title"] == "Leak in hall B"
    assert call("get_issue", issue_id=made["issue_id"]).body == made
    assert call("delete_issue", issue_id=made["issue_id"]).body == {"issue_id": made["issue_id"]}
    gone = call("get_issue", issue_id=made["issue_id"])
    assert (gone.ok, gone.error.fault) == (False, "state.not_found")
    code, out, err = carg("--json", "simulate", "--run", tmp_path / "run", "-b", "stand-in")
    assert (code, err) == (0, "")
    assert orjson.loads(out)["answers"][0]["form"] == "valid body"
    assert carg("simulate", "--run", tmp_path / "run")[0] == 1


def whole(properties: dict[str, Any]) -> dict[str, Any]:
    """An object schema that asks for all of its properties."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
