"""Tools, whole sessions and queries by a server that is hard to please: what is kept is sound, what is not is told."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
from hard_to_please import Demanding
from loopback import KEY, Loopback, serve

from carg.asking import Ask
from carg.backends import open_backend
from carg.checks import judge_scene, judge_tool, read_scene
from carg.checks.corpus import near_duplicates, sign_tool
from carg.config import Asking, Config, ExpandSettings, GenerateSettings, RunSettings
from carg.console import Screen
from carg.domains import Seed
from carg.due import run_due
from carg.errors import ReplyError, TooManyFailures
from carg.journal import Journal
from carg.made import check_missing
from carg.pipeline import expand
from carg.records import Definition, Instance, Json, Query, Session, Tool
from carg.scene import Scene
from carg.schemas import is_valid
from carg.stages.answer import model_referees
from carg.stages.by_model import Report, Road, generate_by_model
from carg.stages.candidates import Known, judge_tools
from carg.stages.forecast import forecast_road
from carg.stages.tools_by_model import expand_by_model
from carg.stages.whole import write_whole
from carg.stats.tools import trial_tables
from carg.store import read_parts
from carg.world.effects import try_effect
from carg.world.refusing import definition_of, instance_of

TOPICS = ("lot sorting", "seal checks", "berth planning", "tare returns")


def seed_of(name: str) -> Seed:
    return Seed(name, "trade", "Trade", name.capitalize(), f"All about {name}.", TOPICS, False, Path(name), False)


SEEDS = [seed_of(name) for name in ("weighing", "keeping", "moving", "lending")]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    with serve() as running:
        monkeypatch.setenv("CARG_API_KEY", KEY)
        running.answer = Demanding()
        yield running


def made(server: Loopback, folder: Path, n_tools: int = 44, **given: Any) -> Report:
    road = Road(**{"backend": "m", "api_base": server.url, "width": 8, "timeout_s": 5.0, **given})
    return asyncio.run(expand_by_model(folder, SEEDS, n_tools, road))


def test_the_number_is_reached_and_every_tool_is_sound(server: Loopback, tmp_path: Path) -> None:
    """Exactly so many, each passing every check, none alike over all domains, fairly shared, names once a domain."""
    server.shares = {"length": 0.01}
    report = made(server, tmp_path)
    tools = list(read_parts(Tool, tmp_path, "tools"))

    assert report.records["tools"] == len(tools) == 44
    assert "missing" not in report.records
    assert Counter(tool.domain for tool in tools) == {seed.name: 11 for seed in SEEDS}
    assert [complaint for tool in tools for complaint in judge_tool(tool)] == []
    assert near_duplicates(map(sign_tool, tools), threshold=0.8) == {}
    assert len({(tool.domain, tool.name) for tool in tools}) == 44
    assert {"shape", "schema", "duplicate"} <= report.refused.keys()
    assert min(report.trials[f"predicate {verdict}"] for verdict in ("believed", "unproved", "refused", "untried")) > 0


def test_refused_candidates_can_be_looked_at(server: Loopback, tmp_path: Path) -> None:
    """Each check that refused has counts and samples: words, domain, service, and what the model wrote."""
    report = made(server, tmp_path)
    samples = [orjson.loads(line) for line in (tmp_path / "refused-00000.jsonl").read_bytes().splitlines()]

    assert {sample["check"] for sample in samples} <= report.refused.keys()
    assert {"shape", "schema"} <= {sample["check"] for sample in samples}
    shape = next(sample for sample in samples if sample["check"] == "shape")
    assert "'returns' is a required property" in shape["words"]
    assert shape["domain"] in {seed.name for seed in SEEDS}
    assert shape["candidate"].startswith('{"name":')


def know_one_tool() -> Callable[[list[Json]], Json]:
    """A model that is right about services and has one and the same tool for ever."""
    right = Demanding(spoil=False)

    def same(messages: list[Json]) -> Json:
        value = right(messages)
        return {"tools": [ONE]} if isinstance(value, dict) and "tools" in value else value

    return same


def test_a_model_that_knows_few_tools_ends_with_what_is_missing(server: Loopback, tmp_path: Path) -> None:
    """One and the same tool for ever: the rounds end, what is missing is counted, and the command exits with 3."""
    server.answer = know_one_tool()
    road = Road("m", api_base=server.url, width=8, timeout_s=5.0)
    done = expand(tmp_path / "run", domains=["claims_handling", "beekeeping"], n_tools=30, road=road)

    assert done.counts == {"tools": 1, "instances": 1, "missing": 29}
    with pytest.raises(TooManyFailures, match="29 tools are missing after") as caught:
        check_missing(done)
    assert caught.value.exit_code == 3
    assert "refused-00000.jsonl" in caught.value.hint


def test_the_same_tools_come_at_any_width_and_again(server: Loopback, tmp_path: Path) -> None:
    """Rounds, spoiled answers and drops do not depend on the order in which calls come home."""
    first = made(server, tmp_path / "a", 24)

    assert made(server, tmp_path / "b", 24, width=1).digest == first.digest
    n_asked = server.n_asked
    again = made(server, tmp_path / "a", 24)
    assert (again.digest, again.refused, again.trials) == (first.digest, first.refused, first.trials)
    assert server.n_asked == n_asked


def test_claims_on_trial_are_shown(server: Loopback, tmp_path: Path) -> None:
    """The tables of a run: a line for effects and one for predicates, whose counts are those of the kept tools."""
    road = Road("m", api_base=server.url, width=8, timeout_s=5.0)
    expand(tmp_path, domains=["claims_handling", "beekeeping"], n_tools=40, road=road)
    claims, refused = trial_tables(tmp_path)
    tools = list(read_parts(Tool, tmp_path / "expand", "tools"))

    (_, *effects, _, _), (_, *predicates, _, _) = claims.rows
    assert effects[0] + effects[1] == len(tools) == 40
    assert sum(predicates) == sum(len(tool.errors) for tool in tools)
    assert predicates[0] == sum(error.when is not None for tool in tools for error in tool.errors)
    assert refused.rows
    assert all(count > 0 and words for check, count, words in refused.rows if check != "reply")


ONE: dict[str, Json] = {
    "name": "seal_crate",
    "title": "Seal a crate",
    "description": "Closes a crate for good after it was weighed, and notes who put the seal on it.",
    "effect": "action",
    "resource": "crate",
    "parameters": {
        "type": "object",
        "properties": {
            "crate_id": {"type": "string", "maxLength": 9, "description": "Which one."},
            "force_n": {"type": "integer", "minimum": 1, "maximum": 90, "description": "Force in newtons."},
        },
        "required": ["crate_id", "force_n"],
    },
    "returns": {
        "type": "object",
        "properties": {"crate_id": {"type": "string", "maxLength": 9}, "force_n": {"type": "integer", "maximum": 90}},
        "required": ["crate_id", "force_n"],
    },
    "id_argument": "crate_id",
    "id_result": "crate_id",
    "records_result": None,
    "errors": [],
}


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({}, ""),
        ({"returns": None}, "shape"),
        ({"parameters": {"type": "object", "properties": {"x": {"type": "geo:point"}}}}, "schema"),
        ({"id_argument": "nowhere"}, "paths_exist"),
        ({"records_result": "force_n"}, "effect"),
        ({"effect": "compute"}, "effect"),
        ({"name": "known_name"}, "name"),
        ({"name": "seal_crates"}, "duplicate"),
    ],
)
def test_one_bad_tool_does_not_spoil_the_others(change: dict[str, Json], check: str) -> None:
    """Every candidate of an answer is judged by itself; the reason names the check."""
    named = {"name": "known_name", "description": "Counts all badges of a site and says how many were lost this year."}
    (known,) = judge_tools([ONE | named], "d", "s", Known())
    assert known.tool is not None
    first = [ONE] if check == "duplicate" else []

    *_, judged = judge_tools([*first, ONE | change], "d", "s", Known([known.tool]))

    assert (judged.tool is None) == bool(check)
    assert judged.complaint.partition(":")[0] == check


def definition(**given: Any) -> Definition:
    (judged,) = judge_tools([ONE], "d", "s", Known())
    assert judged.tool is not None
    return replace(definition_of(judged.tool), **given)


LIST = {"type": "object", "properties": {"items": {"type": "array", "items": ONE["returns"]}}, "required": ["items"]}


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        ({"effect": "update"}, "believed"),
        ({"effect": "delete"}, "believed"),
        ({"effect": "create", "id_argument": None}, "believed"),
        ({"effect": "search", "returns": LIST, "records_result": "items", "id_result": "items.crate_id"}, "believed"),
        ({"effect": "compute", "resource": None, "id_argument": None, "id_result": None}, "believed"),
        ({"effect": "delete", "id_argument": None}, "unproved"),
        ({"effect": "read", "id_argument": None}, "unproved"),
        ({"effect": "create", "id_argument": None, "id_result": None}, "unproved"),
        (
            {"effect": "search", "returns": LIST, "records_result": "items", "id_argument": None, "id_result": None},
            "unproved",
        ),
        ({"effect": "search", "records_result": "force_n"}, "refused"),
        ({"effect": "search", "returns": LIST, "records_result": "items", "id_result": "items"}, "refused"),
        ({"effect": "delete", "returns": LIST, "records_result": "items", "id_result": "items.crate_id"}, "refused"),
        ({"effect": "compute"}, "refused"),
    ],
)
def test_an_effect_is_believed_when_it_was_seen(given: dict[str, Any], verdict: str) -> None:
    """A stand-in does what the tool says: records must come, change or go, or nothing is built on it."""
    trial = try_effect(definition(**given), Random(1))

    assert (trial.verdict, bool(trial.words)) == (verdict, verdict == "refused")


def generate(server: Loopback, folder: Path, n_exchanges: int, **given: Any) -> Report:
    made(server, folder, 24)
    server.answer = Demanding()
    instances, tools = read_parts(Instance, folder, "instances"), read_parts(Tool, folder, "tools")
    road = Road(**{"backend": "m", "api_base": server.url, "width": 8, "timeout_s": 5.0, **given})
    return asyncio.run(generate_by_model(folder / "out", list(instances), tools, n_exchanges, road))


def test_whole_sessions_pass_the_same_checks(server: Loopback, tmp_path: Path) -> None:
    """Sessions written at once hold what stepwise ones do; one question each; spoiled steps are in none of them."""
    report = generate(server, tmp_path, 80, session_mode="whole")
    instances = {instance.id: instance for instance in read_parts(Instance, tmp_path, "instances")}
    tools = {tool.id: tool for tool in read_parts(Tool, tmp_path, "tools")}
    sessions = [item for item in read_parts(Session, tmp_path / "out", "sessions") if item.kind == "session"]

    assert sessions
    assert {name.partition(",")[0] for name in report.asking} == {"calls", "respond", "whole"}
    for session in sessions:
        shown = {tools[name].name: definition_of(tools[name]) for name in session.made_from}
        scene = Scene(session, instances[session.instance], shown, None)
        assert judge_scene(read_scene(scene, model_referees())) == []
        assert session.goal
        assert 2 <= len(session.exchanges) <= 12
        assert "soon" not in str([exchange.response.body for exchange in session.exchanges])


STEP: dict[str, Json] = {
    "tool": "seal_crate",
    "arguments": {"crate_id": "A1", "force_n": 5},
    "ok": True,
    "body": {"crate_id": "A1", "force_n": 5},
    "error": None,
}


@pytest.mark.parametrize(
    ("third", "n_kept"),
    [
        (STEP | {"arguments": {"crate_id": "A2", "force_n": 7}, "body": {"crate_id": "A2", "force_n": 7}}, 4),
        (STEP | {"arguments": {"crate_id": "A2", "force_n": 7}, "body": {"crate_id": "Z9", "force_n": 7}}, 2),
        (STEP | {"body": {"crate_id": "A1"}}, 2),
        (STEP | {"tool": "open_crate"}, 2),
        (STEP | {"arguments": {"crate_id": "A1"}}, 3),
        (STEP | {"arguments": {"crate_id": "A1"}, "ok": False, "body": None}, 4),
    ],
)
def test_a_whole_session_is_cut_where_it_goes_wrong(
    server: Loopback, tmp_path: Path, third: dict[str, Json], n_kept: int
) -> None:
    """What stands before the first wrong step is kept; a refusal that the model missed is the last step."""
    (judged,) = judge_tools([ONE | {"effect": "update"}], "d", "s", Known())
    assert judged.tool is not None
    other = STEP | {"arguments": {"crate_id": "B1", "force_n": 6}, "body": {"crate_id": "B1", "force_n": 6}}
    last = STEP | {"arguments": {"crate_id": "C1", "force_n": 6}, "body": {"crate_id": "C1", "force_n": 6}}
    server.answer = lambda _messages: {"goal": "Seal what leaves on Friday.", "steps": [STEP, other, third, last]}

    session = asyncio.run(_write(server, tmp_path, judged.tool, 4))

    assert len(session.exchanges) == n_kept
    with pytest.raises(ReplyError, match=r"step 3: |only 4 steps; write 12"):
        asyncio.run(_write(server, tmp_path / "more", judged.tool, 12))


async def _write(server: Loopback, folder: Path, tool: Tool, n_exchanges: int) -> Session:
    from carg.world.conventions import draw_convention
    from carg.world.refusing import SETTLED

    instance = instance_of([tool], draw_convention(Random(1), must=SETTLED), category="trade")
    async with open_backend("m", api_base=server.url) as backend:
        ask = Ask(backend, Journal(folder / "replies.jsonl"), "m")
        return await write_whole(instance, [tool], ask, seed=1, n_exchanges=n_exchanges)


def test_queries_are_answered_by_tools_that_are_there(server: Loopback, tmp_path: Path) -> None:
    """About as many as asked for; their tools exist, the first call fits, and the record it names is in the text."""
    report = generate(server, tmp_path, 30, n_queries=30)
    tools = {tool.id: tool for tool in read_parts(Tool, tmp_path, "tools")}
    queries = list(read_parts(Query, tmp_path / "out", "queries"))

    assert report.records["queries"] == len(queries) >= 24
    assert len({query.id for query in queries}) == len(queries)
    assert {len(query.tools) for query in queries} >= {1, 2}
    for query in queries:
        first = tools[query.tools[0]]
        assert {tools[name].service for name in query.tools} == {query.service}
        assert is_valid(first.parameters, query.arguments)
        if first.id_argument in query.arguments:
            assert query.arguments[first.id_argument] in query.text


def test_the_cheaper_mode_is_another_run_and_forecast_so() -> None:
    """The mode and the queries are part of what a run is; whole sessions take fewer calls."""
    plain, whole = Road("m"), Road("m", session_mode="whole", n_queries=5)
    given = {"n_domains": 1, "n_tools": 0, "n_exchanges": 1000}
    lines = {line.prompt: line.calls for line in forecast_road("m", **given, session_mode="whole", n_queries=80)}
    stepwise = {line.prompt: line.calls for line in forecast_road("m", **given)}

    assert plain.fingerprint.keys() < whole.fingerprint.keys()
    assert (lines["session"], stepwise["whole"], lines["queries"], stepwise["queries"]) == (0, 0, 11, 0)
    assert lines["whole"] + lines["respond"] < (stepwise["session"] + stepwise["respond"]) * 0.6


def test_a_goal_is_said_once(server: Loopback, tmp_path: Path) -> None:
    """The first step must set the goal; later ones leave it out, for every word is paid for."""
    right, told = Demanding(spoil=False), Counter[bool]()

    def thrifty(messages: list[Json]) -> Json:
        value = right(messages)
        if isinstance(value, dict) and "done" in value:
            first, asked_again = "Goal: none yet" in messages[1]["content"], len(messages) > 2
            told["set the `goal`" in messages[-1]["content"]] += 1
            return value if first and asked_again else value | {"goal": None}
        return value

    server.answer = right
    made(server, tmp_path, 24)
    server.answer = thrifty
    instances, tools = read_parts(Instance, tmp_path, "instances"), read_parts(Tool, tmp_path, "tools")
    road = Road("m", api_base=server.url, width=8, timeout_s=5.0)
    asyncio.run(generate_by_model(tmp_path / "out", list(instances), tools, 40, road))
    goals = [item.goal for item in read_parts(Session, tmp_path / "out", "sessions") if item.kind == "session"]

    assert goals
    assert all(goals)
    assert told[True] >= len(goals)
    assert told[False] > told[True]


def test_a_run_goes_on_with_the_tools_that_are_there(server: Loopback, tmp_path: Path) -> None:
    """Under `carg run` missing tools end the visit with exit 3, after the later stages have used what was made."""
    server.answer = know_one_tool()
    asking = Asking("m", api_base=server.url, width=4)
    config = Config(
        RunSettings(folder=str(tmp_path)),
        ExpandSettings(domains=("beekeeping",), tools=9, asking=asking),
        GenerateSettings(exchanges=6, asking=asking),
    )

    with pytest.raises(TooManyFailures, match="8 tools are missing"):
        list(run_due(config, Screen(quiet=True)))
    assert (tmp_path / "generate" / "generate.manifest.json").exists()
