"""The LLM road from seed to sessions, against a server that answers as a model would: right, wrong, and not at all."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
from hard_to_please import Demanding
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback import KEY, Loopback, all_tools, answer, serve

from carg.asking import Budget
from carg.checks import judge_scene, judge_tool, read_scene
from carg.config import Asking
from carg.domains import Seed
from carg.errors import ConfigError, RecordError, TryLater
from carg.prompts import prompt_names
from carg.records import Definition, ErrorSpec, Exchange, Instance, Json, Op, Session, Tool
from carg.scene import Scene
from carg.schemas import faults
from carg.stages.answer import answer_schema, model_referees
from carg.stages.by_model import Report, Road, generate_by_model, road_of
from carg.stages.candidates import Known, close_schema, make_tool, tool_complaint
from carg.stages.forecast import forecast_road, price_of
from carg.stages.telling import invented_in, spellings
from carg.stages.tools_by_model import expand_by_model
from carg.store import read_parts
from carg.world.conventions import draw_convention
from carg.world.refusing import SETTLED, definition_of, instance_of, judge_call, judge_gone
from carg.world.shadow import Shadow
from carg.world.stand_in import stand_in
from carg.world.syntax import parse_call
from carg.world.wording import read_response


def seed_of(name: str, *, held_out: bool = False) -> Seed:
    """A domain that nobody built a world for."""
    return Seed(
        name=name,
        category="trade",
        category_title="Trade",
        title=name.capitalize(),
        summary="Things are weighed, kept and passed on.",
        topics=("crates", "permits"),
        held_out=held_out,
        path=Path(f"{name}.toml"),
        has_world=False,
    )


SEEDS = [seed_of("weighing"), seed_of("keeping", held_out=True)]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    with serve() as running:
        monkeypatch.setenv("CARG_API_KEY", KEY)
        yield running


def road(server: Loopback, **given: Any) -> Road:
    return Road(**{"backend": "m", "api_base": server.url, "width": 8, "timeout_s": 5.0, **given})


def expand(server: Loopback, folder: Path, n_tools: int = 23, **given: Any) -> Report:
    return asyncio.run(expand_by_model(folder, SEEDS, n_tools, road(server, **given)))


def generate(server: Loopback, folder: Path, n_exchanges: int = 90, **given: Any) -> Report:
    instances, tools = read_parts(Instance, folder, "instances"), read_parts(Tool, folder, "tools")
    work = generate_by_model(folder / "out", list(instances), tools, n_exchanges, road(server, **given))
    return asyncio.run(work)


def scenes(folder: Path) -> Iterator[Scene]:
    instances = {instance.id: instance for instance in read_parts(Instance, folder, "instances")}
    tools = {tool.id: tool for tool in read_parts(Tool, folder, "tools")}
    for session in read_parts(Session, folder / "out", "sessions"):
        shown = (definition_of(tools[name]) for name in session.made_from)
        yield Scene(session, instances[session.instance], {item.name: item for item in shown}, None)


def test_a_seed_becomes_exactly_the_tools_asked_for(server: Loopback, tmp_path: Path) -> None:
    """Every tool passes every check of tools, belongs to one instance, and no two of a domain are alike."""
    report = expand(server, tmp_path)
    tools = list(read_parts(Tool, tmp_path, "tools"))
    instances = list(read_parts(Instance, tmp_path, "instances"))

    assert report.records == {"tools": 23, "instances": len(instances)}
    assert report.slots.is_whole
    assert [complaint for tool in tools for complaint in judge_tool(tool)] == []
    assert sorted(tool.id for tool in tools) == sorted(name for instance in instances for name in instance.tools)
    assert len({tool.key for tool in tools}) == len({tool.id for tool in tools}) == 23
    assert {instance.domain: instance.held_out for instance in instances} == {"weighing": False, "keeping": True}
    assert {tool.origin for tool in tools} == {"model"}


def test_believed_predicates_are_those_that_were_proved(server: Loopback, tmp_path: Path) -> None:
    """Of the three predicates of the opening tools, the one that can never fire is not believed."""
    expand(server, tmp_path)
    opening = next(tool for tool in read_parts(Tool, tmp_path, "tools") if tool.effect == "create")

    assert {error.code: error.when for error in opening.errors} == {
        "too_light": {"rule": "weight_kg < least_kg"},
        "no_weight": {"schema": "required", "at": "/weight_kg"},
        "never": None,
    }


def test_sessions_pass_every_check_and_labels_are_code(server: Loopback, tmp_path: Path) -> None:
    """What comes out of the road is what the filter would keep: no complaint; labels agree with schema and rules."""
    expand(server, tmp_path)
    report = generate(server, tmp_path)
    whole = list(scenes(tmp_path))
    exchanges = [(scene, exchange) for scene in whole for exchange in scene.session.exchanges]

    assert report.records["sessions"] == len(whole)
    assert len(exchanges) >= 90
    assert report.slots.is_whole
    assert [(scene.session.id, judge_scene(read_scene(scene, model_referees()))) for scene in whole] == [
        (scene.session.id, []) for scene in whole
    ]
    labels = Counter((scene.session.kind, exchange.call.label) for scene, exchange in exchanges)
    assert min(labels[kind, label] for kind in ("single", "session") for label in ("valid", "invalid")) > 0
    for scene, exchange in exchanges:
        assert exchange.truth == "teacher"
        assert exchange.response.ok == (exchange.call.label == "valid") or exchange.directive
        parsed = parse_call(scene.instance.convention, exchange.call.text, scene.definitions)
        assert (parsed.tool, parsed.arguments) == (exchange.call.tool, exchange.call.arguments)
        if exchange.call.label == "valid":
            assert exchange.call.arguments is not None
            assert faults(scene.definitions[exchange.call.tool or ""].parameters, exchange.call.arguments) == ()


def test_what_a_reader_cannot_foresee_is_context_only(server: Loopback, tmp_path: Path) -> None:
    """A refusal for reasons of state, which only the model knew, is kept with `train` false; all else is trained on."""
    expand(server, tmp_path, 40)
    generate(server, tmp_path, 150)
    exchanges = [exchange for scene in scenes(tmp_path) for exchange in scene.session.exchanges]
    context = [exchange for exchange in exchanges if not exchange.train]

    assert {exchange.call.violates[0].code for exchange in context} == {"closed_already"}
    assert all(exchange.response.error and exchange.call.label == "invalid" for exchange in context)
    assert not any(item.code == "closed_already" for one in exchanges if one.train for item in one.call.violates)


def test_answers_that_contradict_are_asked_again(server: Loopback, tmp_path: Path) -> None:
    """A first answer that echoes a wrong weight goes back with the complaint of the check; the mended one is kept."""
    complaints: list[str] = []

    def contradict(messages: list[Json]) -> Json:
        value = answer(messages)
        if "ok" in value and value["ok"] and '"least_kg":' in messages[1]["content"].rpartition("Call:")[2]:
            if len(messages) == 2:
                value["body"]["weight_kg"] = 899.75
            else:
                complaints.append(messages[3]["content"])
                value["body"]["weight_kg"] = orjson.loads(messages[1]["content"].rpartition("Call: ")[2])["arguments"][
                    "weight_kg"
                ]
        return value

    server.answer = contradict
    expand(server, tmp_path)
    generate(server, tmp_path, 60)

    assert complaints
    assert all("weight_kg was given as" in complaint for complaint in complaints)
    assert [judge_scene(read_scene(scene, model_referees())) for scene in scenes(tmp_path)] == [
        [] for _ in scenes(tmp_path)
    ]


def test_a_second_run_pays_nothing_and_gives_the_same(server: Loopback, tmp_path: Path) -> None:
    """Resume of a finished run: no call, the same digest; the same seed in another folder: the same records."""
    first = expand(server, tmp_path / "a"), generate(server, tmp_path / "a")
    n_paid = server.n_paid
    again = expand(server, tmp_path / "a"), generate(server, tmp_path / "a")

    assert server.n_paid == n_paid
    assert [report.digest for report in again] == [report.digest for report in first]
    elsewhere = expand(server, tmp_path / "b", width=1), generate(server, tmp_path / "b", width=1)
    assert [report.digest for report in elsewhere] == [report.digest for report in first]


def test_a_recorded_road_replays_to_the_same_records(server: Loopback, tmp_path: Path) -> None:
    """`--backend replay:FILE` walks the same road without a server."""
    server.shares = {"nonsense": 0.05, "length": 0.05, "fence": 0.1}
    first = expand(server, tmp_path / "a")
    n_asked = server.n_asked

    again = expand(server, tmp_path / "b", backend=f"replay:{tmp_path / 'a' / 'replies.jsonl'}", api_base=None)

    assert again.digest == first.digest
    assert server.n_asked == n_asked


def test_trouble_of_every_kind_changes_no_record_count(server: Loopback, tmp_path: Path) -> None:
    """With a sixth of all calls going wrong, the numbers asked for are reached all the same."""
    kinds = ["429", "500", "reset", "torn", "length", "fence", "think", "prose", "nonsense", "refuse", "empty"]
    server.shares = dict.fromkeys(kinds, 0.015)

    assert expand(server, tmp_path).records["tools"] == 23
    report = generate(server, tmp_path, 60)
    assert report.slots.is_whole
    assert sum(len(scene.session.exchanges) for scene in scenes(tmp_path)) >= 60


def test_nonsense_for_ever_ends_with_failures_as_data(server: Loopback, tmp_path: Path) -> None:
    """A model that never answers to the point: every slot fails with a reason, nothing hangs, the sum holds."""
    server.shares = {"nonsense": 1.0}

    report = expand(server, tmp_path)

    assert report.records == {"tools": 0, "instances": 0, "missing": 23}
    assert report.slots.is_whole
    assert report.slots.failed == report.slots.requested > 0
    stored = [orjson.loads(line) for line in (tmp_path / "slots.jsonl").read_bytes().splitlines()]
    assert all("does not fit the schema" in entry["reason"] for entry in stored)


def test_unsound_tools_are_refused_by_reason_and_replaced(server: Loopback, tmp_path: Path) -> None:
    """Every other tool is spoiled: they are refused and counted by check, the model is told, others come instead."""
    told: list[str] = []

    def spoil(messages: list[Json]) -> Json:
        value = answer(messages)
        if "tools" in value:
            told.append(messages[1]["content"])
            for number, tool in enumerate(value["tools"]):
                if number % 3 == 1:
                    tool["parameters"] = {"type": "object", "properties": {"x": {"type": "strin"}}}
                elif number % 3 == 2:
                    tool["id_argument"] = "nowhere.id"
        return value

    server.answer = spoil
    report = expand(server, tmp_path, 8)

    assert report.records["tools"] == 8
    assert set(report.refused) == {"schema", "paths_exist"}
    assert "no 'nowhere.id' in the schema" in told[-1]


def test_a_wrong_key_is_one_error(server: Loopback, tmp_path: Path) -> None:
    """The road stops at the first refusal; nothing is counted as failed."""
    server.key = "sk-other-00000000"

    with pytest.raises(ConfigError, match="401"):
        expand(server, tmp_path)
    assert (tmp_path / "slots.jsonl").read_bytes() == b""


def test_a_budget_is_spent_in_several_visits(server: Loopback, tmp_path: Path) -> None:
    """Each run stops at its budget and the next goes on; together they pay what one would have paid."""
    visits = 0
    while visits < 50:
        visits += 1
        try:
            report = expand(server, tmp_path / "a", budget=Budget(max_tokens=150), width=1)
            break
        except TryLater:
            continue
    n_paid = server.n_paid
    whole = expand(server, tmp_path / "b")

    assert visits > 2
    assert report.digest == whole.digest
    assert server.n_paid == 2 * n_paid


def test_models_share_the_slots_by_their_names(server: Loopback, tmp_path: Path) -> None:
    """A slot keeps to its model whatever the order; both are in the ledger, and one budget holds for both."""
    server.answer = Demanding(spoil=False)
    work = expand_by_model(tmp_path, [seed_of(f"d{n}") for n in range(20)], 40, road(server, shares={"other": 0.4}))
    report = asyncio.run(work)
    asked = {name.partition(", ")[2]: counts["asked"] for name, counts in report.asking.items() if "tools" in name}
    picked = Counter(road(server, shares={"other": 0.4}).pick(f"d{n}/0") for n in range(20))

    assert report.records["tools"] == 40
    assert asked == picked
    assert 0 < picked["other"] < 20
    with pytest.raises(ConfigError, match="shares"):
        expand(server, tmp_path / "b", shares={"other": 1.5})


def test_each_model_may_have_a_server_of_its_own(server: Loopback, tmp_path: Path) -> None:
    """MODEL@URL=SHARE: each server answers its slots; addresses are no part of journal, ledger or fingerprint."""
    server.answer = Demanding(spoil=False)
    with serve() as other:
        other.answer = Demanding(spoil=False)
        backend = f"a@{server.url}=0.5,b@{other.url}=0.5"
        two = road_of(Asking(backend=backend, width=8, timeout=5.0), 0)
        report = asyncio.run(expand_by_model(tmp_path, [seed_of(f"d{n}") for n in range(10)], 20, two))
        paid = server.n_paid, other.n_paid

    assert report.records["tools"] == 20
    assert min(paid) > 0
    assert {name.partition(", ")[2] for name in report.asking} == {"a", "b"}
    assert two.fingerprint == road_of(Asking(backend="b@http://x=0.5,a@http://y:1=0.5"), 0).fingerprint
    assert b"127.0.0.1" not in (tmp_path / "replies.jsonl").read_bytes()


@pytest.mark.filterwarnings(r"ignore::UserWarning:pydantic\.")
def test_the_road_through_litellm_knows_what_it_costs(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through litellm a known model has a price: the ledger sums it, and --max-cost stops the run."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_BASE", server.url)
    server.key = KEY
    litellm = {"backend": "openai/gpt-5-mini", "api_base": None}

    with pytest.raises(TryLater, match="--max-cost"):
        expand(server, tmp_path, width=1, budget=Budget(max_cost=0.0002), **litellm)
    report = expand(server, tmp_path, **litellm)

    assert report.records["tools"] == 23
    costs = [counts["cost"] / counts["paid"] for counts in report.asking.values() if counts["paid"]]
    price = price_of("openai/gpt-5-mini")
    assert price is not None
    assert costs == pytest.approx([100 * price[0] + 50 * price[1]] * len(costs))
    assert KEY.encode() not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


KILLED = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_llm_road import SEEDS
from carg.stages.by_model import Road
from carg.stages.tools_by_model import expand_by_model
report = asyncio.run(expand_by_model(Path(sys.argv[2]), SEEDS, 60, Road("m", sys.argv[1], width=4)))
print(report.digest)
"""


def test_kill_9_loses_and_doubles_nothing(server: Loopback, tmp_path: Path) -> None:
    """Killed in the middle, then run again: the digest of a quiet run, at most the calls in flight paid twice."""
    server.delay_s = 0.01
    command = [sys.executable, "-c", KILLED, server.url, str(tmp_path / "a"), str(Path(__file__).parent)]
    root = Path(__file__).parents[1]
    victim = subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while server.n_paid < 5 and time.monotonic() < deadline:
        time.sleep(0.001)
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()

    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    n_paid = server.n_paid
    whole = expand(server, tmp_path / "b", 60)

    assert done.stdout.strip() == whole.digest
    assert n_paid - (server.n_paid - n_paid) <= 4


# The parts that need no model.

NUMBER = {"type": "integer", "minimum": 1, "maximum": 9, "description": "n"}
PARAMETERS: dict[str, Json] = {
    "type": "object",
    "properties": {
        "low": NUMBER,
        "high": NUMBER,
        "mode": {"enum": ["fast", "slow"], "description": "m"},
        "box_id": {"type": "string", "maxLength": 9, "description": "b"},
    },
    "required": ["low", "high"],
    "additionalProperties": False,
}
ERRORS = (
    ErrorSpec("crossed", "rule.cross_field", 422, "low is above high", "low", {"rule": "low > high"}),
    ErrorSpec("bad_mode", "schema.enum", 400, "no such mode", "mode", {"schema": "enum", "at": "/mode"}),
    ErrorSpec("no_box", "state.not_found", 404, "no such box", "box_id", None),
)
TOOL = Tool(
    id="t",
    domain="d",
    service="s",
    name="pick",
    title="Pick",
    description="Picks a number between two bounds, for a box.",
    parameters=PARAMETERS,
    returns={"type": "object", "properties": {"box_id": {"type": "string", "maxLength": 9}, "n": NUMBER}},
    effect="read",
    resource="box",
    id_argument="box_id",
    id_result="box_id",
    errors=ERRORS,
    origin="model",
)
PICK = definition_of(TOOL)


@pytest.mark.parametrize(
    ("arguments", "violates"),
    [
        ({"low": 1, "high": 2}, []),
        ({"low": 3, "high": 2}, [("crossed", "rule.cross_field", "low")]),
        ({"low": 3, "high": 2, "mode": "lazy"}, [("bad_mode", "schema.enum", "mode")]),
    ],
)
def test_labels_follow_from_schema_and_rules(arguments: dict[str, Json], violates: list[tuple[str, str, str]]) -> None:
    """The schema judges before the rules; documented errors answer with their own code and words."""
    convention = draw_convention(Random(1), must={"auth": "none"})
    judged = judge_call(convention, PICK, arguments)

    assert [(item.code, item.fault, item.field) for item in judged.call.violates] == violates
    assert judged.call.label == ("invalid" if violates else "valid")
    assert (judged.error.message if judged.error else None) == (
        {"crossed": "low is above high", "bad_mode": "no such mode"}[violates[0][0]] if violates else None
    )


def test_undocumented_faults_have_the_conventions_words() -> None:
    """A missing argument that the tool says nothing of: code and words of the convention, none of the tool's errors."""
    convention = draw_convention(Random(1), must={"auth": "none"})
    judged = judge_call(convention, PICK, {"low": 11})

    assert [item.fault for item in judged.call.violates] == ["schema.missing", "schema.range"]
    assert judged.error is not None
    assert not judged.documented
    assert judged.error.code in convention.documentation


def test_a_deleted_record_is_refused_as_the_tool_documents() -> None:
    """Code answers for what the session itself settled."""
    judged = judge_gone(draw_convention(Random(1), must={"auth": "none"}), PICK, {"low": 1, "high": 2, "box_id": "B1"})

    assert judged.error is not None
    assert (judged.error.code, judged.error.fault, judged.error.field) == ("no_box", "state.not_found", "box_id")


@given(st.integers(0, 2**32))
@settings(max_examples=40)
def test_any_judged_call_reads_back(seed: int) -> None:
    """Whatever the convention, text and refusal parse back to what they mean."""
    rng = Random(seed)
    convention = draw_convention(rng, must={"auth": "none", "media": "json", "nesting": "flat"})
    arguments = {name: rng.randint(-3, 12) for name in ("low", "high", "width") if rng.random() < 0.8}
    judged = judge_call(convention, PICK, arguments)
    parsed = parse_call(convention, judged.call.text, {PICK.name: PICK})

    assert parsed.arguments == judged.call.arguments
    assert parsed.arguments == arguments or convention.factors["syntax"] in ("xml", "http")
    if judged.error is not None:
        from carg.world.wording import refuse

        read = read_response(convention, refuse(convention, judged.error).text, PICK)
        assert read.error is not None
        assert (read.error.code, read.error.message) == (judged.error.code, judged.error.message)


def shadow_definition(effect: str, **given: Any) -> Definition:
    return replace(PICK, effect=effect, **given)


def test_the_shadow_remembers_what_answers_told() -> None:
    """Create, update, read of a list, delete: operations say what changed, and nothing is told twice."""
    shadow = Shadow()
    create, update = shadow_definition("create", id_argument=None), shadow_definition("update")
    search = shadow_definition("search", id_argument=None, records_result="items", id_result="items.box_id")

    assert shadow.take(create, {"n": 1}, {"box_id": "B1", "n": 1}) == (Op("box", "B1", {"box_id": "B1", "n": 1}),)
    assert shadow.take(update, {"box_id": "B1", "n": 2}, {"box_id": "B1"}) == (
        Op("box", "B1", {"box_id": "B1", "n": 2}),
    )
    assert shadow.take(search, {}, {"items": [{"box_id": "B1", "n": 2}, {"box_id": 7}]}) == (
        Op("box", "7", {"box_id": 7}),
    )
    assert shadow.knows(update, {"box_id": "B1"}) is True
    assert shadow.knows(update, {"box_id": "B9"}) is None
    assert shadow.take(shadow_definition("delete"), {"box_id": "B1"}, {"done": True}) == (Op("box", "B1", None),)
    assert shadow.knows(update, {"box_id": "B1"}) is False
    assert shadow.shown() == {"box": {"B1": "deleted", "7": {"box_id": 7}}}


def test_values_that_nobody_could_know_are_marked() -> None:
    """Told are the arguments and what the store showed; the others are pointed at."""
    told = spellings({"box_id": "B1", "n": 2}) | spellings({"box": {"B2": {"size": 3.0}}})

    assert invented_in({"box_id": "B1", "next": "B2", "size": 3, "a/b": ["new", 2]}, told) == ("/a~1b/0",)


def test_the_answer_schema_forbids_what_code_rules_out() -> None:
    """Without room for errors of state only a success fits; with it, only documented codes."""
    only, either = answer_schema(PICK, errors=False), answer_schema(PICK, errors=True)
    success = {"ok": True, "body": {"n": 3}, "error": None}
    failure = {"ok": False, "body": None, "error": {"code": "no_box", "message": "m", "field": None}}

    assert (faults(only, success), bool(faults(only, failure))) == ((), True)
    assert (faults(either, success), faults(either, failure)) == ((), ())
    assert faults(either, {**failure, "error": {**failure["error"], "code": "crossed"}})


def test_schemas_are_closed_and_bounded_by_rule() -> None:
    """Objects closed, strings and lists bounded, what is bounded left alone."""
    item = {"type": "string"}
    schema = {
        "type": "object",
        "properties": {"a": item, "b": {"type": "array", "items": {"type": "string", "enum": ["x"]}}},
    }

    assert close_schema(schema) == {
        "type": "object",
        "properties": {
            "a": {"type": "string", "maxLength": 200},
            "b": {"type": "array", "maxItems": 50, "items": {"type": "string", "enum": ["x"]}},
        },
        "additionalProperties": False,
    }


RAW: dict[str, Json] = {
    "name": "pick_box",
    "title": "Pick a box",
    "description": "Picks the box that fits best between two bounds of weight, says which it is and where it stands.",
    "effect": "read",
    "resource": "box",
    "parameters": PARAMETERS,
    "returns": {"type": "object", "properties": {"box_id": {"type": "string"}}},
    "id_argument": None,
    "id_result": "box_id",
    "records_result": None,
    "errors": [],
}


def test_the_same_words_make_the_same_tool() -> None:
    """Ids are digests of content; a changed word makes another tool."""
    tool, trials = make_tool(RAW, domain="d", service="s")

    assert (tool, trials) == make_tool(RAW, domain="d", service="s")
    assert tool.id != make_tool({**RAW, "title": "Pick one box"}, domain="d", service="s")[0].id
    assert tool_complaint(tool, Known()) is None


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"name": "pick_box"}, "name: pick_box: there is a tool of that name"),
        ({"name": "pick_boxes"}, "duplicate: pick_boxes: it says nearly the same as pick_box"),
        ({"name": "weigh", "id_result": "parcel"}, "paths_exist: weigh: id_result: no 'parcel' in the schema"),
    ],
)
def test_alike_and_unsound_tools_are_refused(change: dict[str, Json], complaint: str) -> None:
    """By name, by words, by the checks; each refusal begins with its reason code."""
    first, _ = make_tool(RAW, domain="d", service="s")
    assert tool_complaint(make_tool({**RAW, **change}, domain="d", service="s")[0], Known([first])) == complaint


@pytest.mark.parametrize(
    "parameters", [{"type": "array"}, {"type": "object", "properties": {"a": False}, "required": ["a"]}]
)
def test_schemas_that_take_no_call_are_refused(parameters: Json) -> None:
    """A tool that nobody can call is none."""
    with pytest.raises(RecordError):
        make_tool({**RAW, "parameters": parameters}, domain="d", service="s")


def test_the_forecast_counts_calls_and_dollars() -> None:
    """The paper's size: calls follow from the batch sizes, dollars from litellm's own price map."""
    lines = {
        line.prompt: line
        for line in forecast_road("openai/gpt-5-mini", n_domains=300, n_tools=20_000, n_exchanges=100_000)
    }

    assert sorted([*lines, "draft"]) == prompt_names()
    assert lines["services"].calls == 330
    assert lines["tools"].calls == math.ceil(300 * 7 * 2 * 1.1)
    price = price_of("openai/gpt-5-mini")
    assert price is not None
    assert [line.cost for line in lines.values()] == pytest.approx(
        [line.tokens_in * price[0] + line.tokens_out * price[1] for line in lines.values()]
    )
    assert price_of("no/such-model") is None
    assert [line.cost for line in forecast_road("no/such-model", n_domains=1, n_tools=1, n_exchanges=1)] == [None] * 7


@given(st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_the_stand_in_keeps_to_what_it_said(seed: int) -> None:
    """Without any model: created records are found, read and searched as they were made, and gone once deleted."""
    rng = Random(seed)
    made = [make_tool(raw, domain="d", service="s")[0] for raw in all_tools("crate")[:4]]
    create, read, search, delete = (definition_of(tool) for tool in made)
    convention = draw_convention(rng, must=SETTLED)
    instance = instance_of(made, convention, category="trade")
    shadow = Shadow()

    def call(definition: Definition, **arguments: Json) -> Exchange:
        return stand_in(convention, definition, arguments, shadow, rng)

    opened = call(create, weight_kg=12.5, least_kg=3)
    name = opened.response.body["crate_id"]
    exchanges = [
        opened,
        call(read, crate_id=name),
        call(search, status=opened.response.body["status"]),
        call(create, weight_kg=1, least_kg=3),
        call(delete, crate_id=name),
        call(read, crate_id=name),
    ]

    assert opened.response.body["weight_kg"] == 12.5
    assert exchanges[1].response.body == opened.response.body
    assert exchanges[2].response.body == {"items": [opened.response.body]}
    assert [exchange.response.ok for exchange in exchanges] == [True, True, True, False, True, False]
    session = Session("x", "session", instance.id, ("t",), tuple(exchanges))
    definitions = {item.name: item for item in (create, read, search, delete)}
    assert judge_scene(read_scene(Scene(session, instance, definitions, None), model_referees())) == []
