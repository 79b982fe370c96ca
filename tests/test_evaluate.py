"""`carg evaluate`: the world and its twin are without a fault, whoever guesses is not; shares, intervals, resuming."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback import KEY, Loopback, serve
from tiny_run import Carg, carg, write_domain
from worlds import draw_instance, open_scene

from carg.comparing import compare_bodies, leaves
from carg.config import Asking
from carg.errors import RecordError
from carg.evaluation.answering import ask_model, schema_of
from carg.evaluation.controls import Nearest, answer_by_control, echo
from carg.evaluation.intervals import differences, estimate
from carg.evaluation.items import Item, invented_places, read_answer, read_items
from carg.evaluation.verdicts import MEASURES, judge
from carg.pipeline import expand, filter_sessions, generate
from carg.records import ToolError
from carg.stages.by_world import make_sessions
from carg.world.wording import answer, refuse

__all__ = ["carg"]

SPLITS = ("train", "test_tools")
WORST = {name: float(name == "false_alarms") for name in MEASURES}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of the small world with sessions, directives and probes, which nobody may change."""
    folder = tmp_path_factory.mktemp("measured")
    write_domain(folder / "domains")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CARG_DOMAINS", str(folder / "domains"))
        expand(folder / "run", n_instances=4)
        generate(folder / "run", n_exchanges=420, width=1)
        filter_sessions(folder / "run", width=1)
        yield folder / "run"


@pytest.fixture(scope="module")
def items(made: Path) -> list[Item]:
    """All supervised answers of the run."""
    return read_items(made, made / "dataset", SPLITS, 10_000)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    with serve() as running:
        monkeypatch.setenv("CARG_API_KEY", KEY)
        yield running


def shares(items: list[Item], say: Callable[[Item], str]) -> dict[str, float]:
    """Each measure over all items."""
    scores = [judge(item, say(item)).scores for item in items]
    found = estimate(scores, [item.scene.instance.id for item in items])
    return {name: found[name].value for name in found}


def said(items: list[Item], made: Path, backend: str) -> Callable[[Item], str]:
    """What a control answers."""
    answers = answer_by_control(backend, items, made / "dataset")
    return lambda item: answers[item.id].text


def wrong(scores: dict[str, tuple[float, float]]) -> set[str]:
    """The measures in which an answer is not right."""
    return {name for name, (got, of) in scores.items() if got != (0 if name == "false_alarms" else of)}


def pick(items: list[Item], holds: Callable[[Item], Any]) -> Item:
    return next(item for item in items if holds(item))


def is_plain(item: Item) -> bool:
    """A valid call of a tool whose returns are shown, answered with a body that holds known values."""
    return item.exchange.directive is None and item.wanted.ok and item.shows_returns and not item.invented


def with_body(item: Item, body: Any) -> str:
    assert item.definition is not None
    return answer(item.scene.instance.convention, item.definition, body).text


def with_error(item: Item, **other: Any) -> str:
    """The true error with something else in it."""
    error = item.wanted.error or ToolError("nope", "state.not_found", 404, "No.")
    return refuse(item.scene.instance.convention, replace(error, **other)).text


# The check of the checker ---------------------------------------------------------------------------------------------


def test_the_world_is_right_in_everything(items: list[Item], made: Path) -> None:
    """The same text, letter for letter; every measure has cases here."""
    found = shares(items, said(items, made, "world"))

    assert found == {**dict.fromkeys(MEASURES, 1.0), "false_alarms": 0.0}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_twin_is_right_in_all_that_is_determined(items: list[Item], made: Path, seed: int) -> None:
    """And other in the rest, or it would be no test."""
    found = shares(items, said(items, made, f"twin:{seed}"))

    assert {name: value for name, value in found.items() if name not in ("exact", "keys")} == {
        **{name: 1.0 for name in MEASURES if name not in ("exact", "keys")},
        "false_alarms": 0.0,
    }
    assert found["exact"] < 1


def test_nulls_that_are_left_out_may_be_values_elsewhere() -> None:
    """A record says nothing of them, the twin has them: they are no values too many."""
    instance = draw_instance(1, nulls="omitted")
    opening, sessions = make_sessions(instance, 90, 1)
    scenes = [
        open_scene(replace(session, view={"mode": "withheld", "rule": "open"}), instance, opening)
        for session in sessions
    ]
    pairs = [
        (exchange.response.body, place)
        for scene in scenes
        for exchange, places in zip(scene.session.exchanges, invented_places(scene), strict=True)
        for place in places
        if isinstance(exchange.response.body, dict) and place.count("/") == 1
    ]
    missing = [place for body, place in pairs if place[1:] not in body]

    assert 0 < len(missing) < len(pairs)
    assert compare_bodies({"id": 1}, {"id": 1, "note": "x"}, ["/note"]) == (1, 1, True)


def test_judging_invented_values_would_fail_the_twin(items: list[Item], made: Path) -> None:
    """What is not determined must not be scored."""
    twin = said(items, made, "twin")
    scores = [judge(replace(item, invented=()), twin(item)).scores for item in items]

    assert any("facts" in wrong(found) for found in scores)


def test_a_world_that_answers_another_call_is_found_out(items: list[Item]) -> None:
    """The true answers of the same service, each to the call after."""
    pairs = [(one, two) for one, two in pairwise(items) if one.scene.instance.id == two.scene.instance.id]
    scores = [judge(one, two.exchange.response.text).scores for one, two in pairs]

    assert len(pairs) > 50
    assert sum(found["truth"][0] for found in scores) < 0.2 * len(pairs)


def test_a_world_of_another_session_is_found_out(items: list[Item], made: Path) -> None:
    """Each session executed from the opening of another one of its service: ids and values are others."""
    plain = [item for item in items if item.scene.opening is not None and item.scene.opening.tables]
    other = {item.scene.opening.id: item.scene.opening for item in plain if item.scene.opening}
    strange = {}
    for one, two in pairwise([*other.values(), next(iter(other.values()))]):
        strange[one.id] = replace(one, tables=two.tables)
    moved = [replace(item, scene=replace(item.scene, opening=strange[item.scene.opening.id])) for item in plain]  # type: ignore[union-attr]
    swapped = [item for item in moved if not item.scene.session.patch]
    answers = answer_by_control("world", swapped, made / "dataset")
    right = [judge(item, answers[item.id].text).scores["truth"][0] for item in swapped]

    assert sum(right) < 0.8 * len(right)


def test_echo_and_nearest_come_nowhere_near(items: list[Item], made: Path) -> None:
    """They know the form, and nothing of the work."""
    held_out = [item for item in items if item.split == "test_tools"]

    assert shares(held_out, said(held_out, made, "echo"))["truth"] < 0.2
    assert shares(held_out, said(held_out, made, "nearest"))["truth"] < 0.2


def test_the_echo_is_a_success_around_the_arguments(items: list[Item]) -> None:
    """Readable, and the arguments come back."""
    item = pick(items, lambda item: is_plain(item) and item.exchange.call.arguments)
    read = read_answer(item.scene, echo(item), None)

    assert read is not None and read.ok
    assert set(orjson.loads(orjson.dumps(item.exchange.call.arguments))) <= set(read.body)


def test_the_nearest_row_of_a_trained_call_is_itself(items: list[Item], made: Path) -> None:
    """All calls of the training split, but those that stand there twice with other answers."""
    nearest = Nearest(made / "dataset")
    trained = [item for item in items if item.split == "train"]

    same = [nearest.answer(item) == item.exchange.response.text for item in trained]
    assert sum(same) > 0.8 * len(same)


# One answer -----------------------------------------------------------------------------------------------------------


def test_text_that_is_no_answer_is_wrong_in_everything(items: list[Item]) -> None:
    """Neither a body nor an error: no fault is detected, no alarm is false."""
    item = pick(items, lambda item: is_plain(item) and item.scene.session.kind == "session" and item.number > 0)
    scores = judge(item, "I would say 42.").scores

    assert {"format", "schema", "agrees", "facts", "bodies", "truth", "exact", "keys"} <= wrong(scores)
    assert scores["false_alarms"] == (0, 1)


def test_a_wrong_value_is_one_wrong_fact(items: list[Item]) -> None:
    """The others still count; the body is not whole."""
    item = pick(items, lambda item: is_plain(item) and len(item.wanted.body) > 2 and isinstance(item.wanted.body, dict))
    name = next(name for name, value in item.wanted.body.items() if isinstance(value, str | int))
    spoiled = {**item.wanted.body, name: "another" if isinstance(item.wanted.body[name], str) else 987_654}
    scores = judge(item, with_body(item, spoiled)).scores
    facts = scores["facts"]

    assert facts[0] == facts[1] - 1
    assert (
        {"facts", "bodies", "truth", "exact"}
        <= wrong(scores)
        <= {"facts", "bodies", "truth", "exact", "schema", "agrees"}
    )


def test_a_value_too_many_spoils_the_body_but_no_fact(items: list[Item]) -> None:
    """And the schema, where it allows no more."""
    item = pick(items, lambda item: is_plain(item) and isinstance(item.wanted.body, dict) and item.wanted.body)
    scores = judge(item, with_body(item, {**item.wanted.body, "extra": 1})).scores

    assert wrong(scores) == {"schema", "bodies", "truth", "exact", "keys"}


def test_an_error_to_a_valid_call_is_a_false_alarm(items: list[Item]) -> None:
    """Well formed, and wrong."""
    item = pick(items, is_plain)
    scores = judge(item, with_error(item)).scores

    assert scores["false_alarms"] == scores["format"] == scores["schema"] == (1, 1)
    assert {"truth", "facts", "bodies", "false_alarms"} <= wrong(scores)


def test_a_detected_fault_needs_its_code_and_its_field(items: list[Item]) -> None:
    """Each is judged by itself; the words are not."""
    item = pick(items, lambda item: item.wanted.error and item.wanted.error.field and item.exchange.directive is None)

    assert wrong(judge(item, with_error(item, message="Other words.")).scores) <= {"exact"}
    assert wrong(judge(item, with_error(item, code="other")).scores) == {"code", "truth", "exact"}
    assert wrong(judge(item, with_error(item, field="other")).scores) == {"field", "truth", "exact"}


def test_a_missed_fault_is_no_wrong_code(items: list[Item]) -> None:
    """Codes are of the detected ones alone."""
    item = pick(
        items, lambda item: item.exchange.call.label == "invalid" and item.definition and not item.exchange.directive
    )
    scores = judge(item, with_body(item, {})).scores

    assert {"recall", "truth"} <= wrong(scores)
    assert not {"code", "field", "false_alarms"} & scores.keys()


def test_who_does_not_hear_a_directive_does_not_obey(items: list[Item]) -> None:
    """A sound answer where a failing or a cut one was ordered; recall and alarms say nothing of such calls."""
    failing = ("timeout", "rate_limit", "server_error", "truncated")
    found = [item for item in items if item.exchange.directive and item.exchange.directive.fault in failing]
    assert len({item.exchange.directive.fault for item in found if item.exchange.directive}) > 1
    for item in found:
        scores = judge(item, with_body(item, {"id": "1"}) if item.definition else with_error(item, code="other")).scores
        assert {"obeys", "truth"} <= wrong(scores)
        assert not {"recall", "false_alarms"} & scores.keys()


def test_without_returns_values_are_sought_by_their_keys(items: list[Item]) -> None:
    """A body of another shape is right where the keys that the model could read have the true values."""
    item = pick(
        items,
        lambda item: (
            item.wanted.ok and item.definition and not item.shows_returns and "facts" in judge(item, "").scores
        ),
    )
    plain = {"whole": {place.rpartition("/")[2]: value for place, value in leaves(item.wanted.body, "")}}
    scores = judge(item, with_body(item, plain)).scores

    assert "schema" not in scores
    assert isinstance(item.wanted.body, dict) and scores["bodies"] == scores["truth"] == (1, 1)
    assert {"bodies", "facts", "truth"} <= wrong(judge(item, with_body(item, {"whole": {}})).scores)
    assert "facts" not in judge(replace(item, messages=()), with_body(item, plain)).scores


# Bodies ---------------------------------------------------------------------------------------------------------------

SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=2)
BODIES = st.dictionaries(
    st.sampled_from("abcd"),
    SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.sampled_from("xy"), SCALARS, max_size=2),
    min_size=1,
)


@given(BODIES, st.data())
def test_one_change_is_one_wrong_value_unless_it_is_invented(body: dict[str, Any], data: st.DataObject) -> None:
    """The body itself is whole; a spoiled leaf is found, a spoiled leaf that is covered is not."""
    place = data.draw(st.sampled_from([place for place, _ in leaves(body, "")]))
    spoiled = orjson.loads(orjson.dumps(body))
    *path, last = [int(step) if step.isdigit() else step for step in place.split("/")[1:]]
    inner = spoiled
    for step in path:
        inner = inner[step]
    inner[last] = "spoiled"
    n = len(dict(leaves(body, "")))

    assert compare_bodies(body, body) == (n, n, True)
    assert compare_bodies(body, spoiled) == (n - 1, n, False)
    assert compare_bodies(body, spoiled, [place]) == (n - 1, n - 1, True)
    assert compare_bodies(body, spoiled, [f"/{place.split('/')[1]}"])[2] is True


def test_a_pointer_covers_what_lies_below_it() -> None:
    """Of a list that is invented as a whole, neither length nor values count; of its neighbours they do."""
    true = {"items": [{"a": 1}], "items_seen": 1}

    assert compare_bodies(true, {"items": [], "items_seen": 1}, ["/items"]) == (1, 1, True)
    assert compare_bodies(true, {"items": [{"a": 2}, {"a": 3}], "items_seen": 2}, ["/items"]) == (0, 1, False)
    assert compare_bodies(true, {"items": [{"a": 1}, {"a": 1}], "items_seen": 1}) == (2, 2, False)


@pytest.mark.parametrize(
    ("true", "given_", "same"),
    [
        (1.25, 1.26, True),
        (1.25, 1.27, False),
        (12.0, 12, True),
        (3, 4, False),
        (1.5, True, False),
        (1e-9, 1.1e-9, True),
        (1.5, "1.5", False),
    ],
)
def test_computed_decimals_may_differ_in_their_last_place(true: float, given_: Any, same: bool) -> None:
    """Whole numbers and records may not."""
    assert compare_bodies({"x": true}, {"x": given_}, is_rounded=True)[2] is same
    assert compare_bodies({"x": true}, {"x": given_})[2] is (true == given_ and given_ is not True)


# Shares ---------------------------------------------------------------------------------------------------------------


def test_shares_are_of_points_and_intervals_of_instances() -> None:
    """Answers within a service are alike: ten services of ten are as sure as ten answers."""
    services = [f"s{number}" for number in range(10) for _ in range(10)]
    alike = [{"truth": (float(name < "s5"), 1.0)} for name in services]
    mixed = [{"truth": (float(number % 2), 1.0)} for number in range(100)]
    one, two = estimate(alike, services)["truth"], estimate(mixed, services)["truth"]

    assert (one.value, one.n) == (two.value, two.n) == (0.5, 100)
    assert (two.low, two.high) == (0.5, 0.5)
    assert one.low == pytest.approx(0.2, abs=0.01) and one.high == pytest.approx(0.8, abs=0.01)


def test_one_service_gives_no_interval() -> None:
    """There is nothing to draw from."""
    found = estimate([{"facts": (3.0, 4.0)}, {"facts": (1.0, 4.0)}, {"truth": (1.0, 1.0)}], ["a", "a", "b"])

    assert (found["facts"].value, found["facts"].n, found["facts"].low) == (0.5, 8, None)
    assert estimate([], []) == {}


def test_differences_are_on_the_same_draws() -> None:
    """What is hard for both cancels out: an even gain is certain."""
    services = [f"s{number // 10}" for number in range(100)]
    base = [{"truth": (float(number >= 50 and number % 2), 1.0)} for number in range(100)]
    more = [{"truth": (found["truth"][0] + (number % 2 == 0) * 0.2, 1.0)} for number, found in enumerate(base)]
    gain = differences(base, more, services)["truth"]

    assert (gain.value, gain.low, gain.high) == (0.1, 0.1, 0.1)
    assert estimate(base, services)["truth"].low < estimate(base, services)["truth"].high  # type: ignore[operator]


# Items ----------------------------------------------------------------------------------------------------------------


def test_items_are_drawn_by_whole_rows_and_stay_the_same(made: Path, items: list[Item]) -> None:
    """A smaller limit gives some of the same items; each ends with its call."""
    few = read_items(made, made / "dataset", SPLITS, 30)
    known = {item.id for item in items}

    assert {item.id for item in few} < known
    assert len(known) == len(items)
    assert 60 <= len(few) < 100
    for item in few:
        assert item.messages[-1]["role"] == "user"
        assert len(item.messages) == 2 * item.number + 2


# The command ----------------------------------------------------------------------------------------------------------


def evaluate(carg: Carg, run: Path, out: Path, *words: object) -> tuple[int, Any, str]:
    code, told, err = carg("--quiet", "--json", "evaluate", run / "dataset", "--out", out, *words)
    return code, orjson.loads(told) if told else None, err


def test_the_report_holds_sizes_shares_and_differences(made: Path, carg: Carg, tmp_path: Path) -> None:
    """And is the same when asked again; the table is made of it."""
    out = tmp_path / "report.json"
    words = ("-b", "world", "-b", "echo", "--split", "test_tools", "--compare")
    code, report, _ = evaluate(carg, made, out, *words)
    told = carg("--quiet", "evaluate", made / "dataset", "--out", out, *words)[1]
    lines = [orjson.loads(line) for line in (tmp_path / "report" / "echo.jsonl").read_bytes().splitlines()]

    assert code == 0
    assert orjson.loads(out.read_bytes())["items"] == report["items"]
    truth = report["backends"]["world"]["measures"]["test_tools"]["truth"]
    assert truth == {"value": 1.0, "n": report["sizes"]["test_tools"]["items"], "low": 1.0, "high": 1.0}
    assert report["differences"]["echo"]["all"]["recall"]["value"] == -1
    assert len(lines) == truth["n"] and {"call", "true", "said", "scores"} <= lines[0].keys()
    assert "Points above world" in told and "false alarms" in told


def know(server: Loopback, items: list[Item]) -> None:
    """The server answers as the world did."""
    known = {orjson.dumps(list(item.messages)): item.exchange.response.text for item in items}
    server.answer = lambda messages: known[orjson.dumps(messages)]


def test_a_model_is_asked_the_row_and_paid_once(
    made: Path, items: list[Item], carg: Carg, tmp_path: Path, server: Loopback
) -> None:
    """A spent budget ends with 75; the same command goes on, a third asks nothing."""
    know(server, items)
    words = ("-b", "m", "--api-base", server.url, "--split", "test_tools", "--width", 4)
    n = sum(item.split == "test_tools" for item in items)

    assert evaluate(carg, made, tmp_path / "e.json", *words, "--max-tokens", 1500)[0] == 75
    assert 10 <= server.n_paid < 20 < n
    code, report, _ = evaluate(carg, made, tmp_path / "e.json", *words)
    assert (code, server.n_paid) == (0, n)
    found = report["backends"]["m"]
    assert found["measures"]["all"]["exact"]["value"] == 1
    assert found["unanswered"] == 0 and found["speed"]["n"] < n
    assert found["paid"]["replies"] == n and found["paid"]["tokens_in"] == 100 * n
    assert evaluate(carg, made, tmp_path / "e.json", *words)[0] == 0
    assert server.n_paid == n


def test_cut_answers_are_judged_as_they_are(
    made: Path, items: list[Item], carg: Carg, tmp_path: Path, server: Loopback
) -> None:
    """And a model that is not there ends everything."""
    know(server, items)
    server.shares = {"length": 0.3}
    words = ("-b", "m", "--api-base", server.url, "--split", "test_tools")
    measures = evaluate(carg, made, tmp_path / "e.json", *words)[1]["backends"]["m"]["measures"]["all"]
    server.shares = {}
    gone = ("-b", "unknown", "--api-base", server.url, "--split", "test_tools")

    assert 0.5 < measures["exact"]["value"] < 0.9
    code, _, err = evaluate(carg, made, tmp_path / "e.json", *gone)
    assert code == 1 and "unknown" in err and "Traceback" not in err


TOOLS = [
    {
        "name": f"get_{noun}",
        "description": f"Gets one {noun} by its number.",
        "inputSchema": {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
        **({"outputSchema": {"type": "object", "properties": {"id": {"type": "string"}}}} if noun != "boat" else {}),
    }
    for noun in ("ship", "boat", "crew", "port")
]


def test_real_tools_are_judged_against_what_was_recorded(carg: Carg, tmp_path: Path, server: Loopback) -> None:
    """Without a world: the form, errors that code proves, values that were told, the keys of bodies."""
    run, listed = tmp_path / "real", tmp_path / "tools.json"
    listed.write_bytes(orjson.dumps({"tools": TOOLS}))
    asked = ("--backend", "m", "--api-base", server.url)
    assert carg("--quiet", "import", listed, "--run", run)[0] == 0
    assert carg("--quiet", "generate", "--run", run, "--exchanges", 40, *asked)[0] == 0
    assert carg("--quiet", "filter", "--run", run, "--workers", 1)[0] == 0
    real = read_items(run, run / "dataset", (), 100)
    know(server, real)
    backends = ("-b", "m", "--api-base", server.url, "-b", "echo")
    code, report, _ = evaluate(carg, run, tmp_path / "e.json", *backends)
    found, of_echo = (report["backends"][name]["measures"]["test_real"] for name in ("m", "echo"))

    assert code == 0 and list(report["sizes"]) == ["test_real"]
    assert [found[name]["value"] for name in ("format", "exact", "truth", "recall", "keys")] == [1] * 5
    assert of_echo["recall"]["value"] == 0 and of_echo["keys"]["value"] < 1
    code, _, err = evaluate(carg, run, tmp_path / "e.json", "-b", "twin")
    assert code == 1 and "no world gave the answers" in err


@pytest.mark.parametrize(
    ("words", "said_"),
    [
        (("nowhere",), "no such dataset"),
        (("DATASET", "--split", "test_real"), "has no simulator/test_real"),
        (("DATASET", "-b", "twin:x"), "controls are world, twin"),
        (("DATASET", "-b", "gtm:nowhere"), "no model lies there"),
        (("DATASET", "-b", "world", "-b", "world"), "named twice"),
        (("DATASET", "-b", "world", "--compare"), "needs two backends"),
        (("DATASET", "--run", "nowhere"), "no sessions of"),
    ],
)
def test_what_cannot_be_measured_is_said_in_two_lines(
    made: Path, carg: Carg, tmp_path: Path, words: tuple[str, ...], said_: str
) -> None:
    """What and where, then how to mend it."""
    given_ = [made / "dataset" if word == "DATASET" else word for word in words]
    code, _, err = carg("--quiet", "evaluate", *given_, "--out", tmp_path / "e.json")

    assert code == 1
    assert said_ in err and "mend:" in err and err.count("\n") == 2


def test_a_dataset_of_sessions_made_anew_is_refused(made: Path, carg: Carg, tmp_path: Path) -> None:
    """Its rows have no truth any more."""
    run = tmp_path / "run"
    shutil.copytree(made, run)
    generate(run, n_exchanges=30, width=1, seed=9, fresh=True)
    code, _, err = carg("--quiet", "evaluate", run / "dataset", "-b", "world")

    assert code == 1 and "does not hold" in err and "carg filter --fresh" in err


def test_an_empty_split_and_a_world_where_there_is_none(made: Path, carg: Carg, tmp_path: Path) -> None:
    """No rows at all: an error; the default splits of a dataset without held-out ones, too."""
    run = tmp_path / "run"
    shutil.copytree(made, run)
    for path in (run / "dataset" / "simulator").glob("test_*"):
        path.unlink()
    code, _, err = carg("--quiet", "evaluate", run / "dataset")

    assert code == 1 and "--split validation" in err


def test_a_local_model_answers_what_fits_its_context(made: Path, items: list[Item], carg: Carg, tmp_path: Path) -> None:
    """Random weights say nothing right; a context too short for any call leaves all unanswered, and says why."""
    from gtm_shards import save_base

    wide, narrow = (f"gtm:{save_base(tmp_path / str(size), context=size, loudness=20.0)}" for size in (16_384, 600))
    words = ("-b", wide, "-b", narrow, "--split", "test_tools", "--limit", 1, "--sampling", "max_tokens=16")
    code, report, _ = evaluate(carg, made, tmp_path / "e.json", *words)
    found, left = report["backends"][wide], report["backends"][narrow]
    n = report["sizes"]["test_tools"]["items"]

    assert code == 0
    assert found["unanswered"] == 0 and found["paid"]["tokens_out"] > 0
    assert found["measures"]["answered"]["truth"]["value"] < 0.5
    assert left["unanswered"] == n and "no room" in left["why_unanswered"]
    assert left["measures"]["all"]["truth"]["value"] == 0 and left["measures"]["answered"] == {}

    bound, free = ([item for item in items if (schema_of(item) is None) == is_free][:2] for is_free in (False, True))
    asking = Asking(sampling=("max_tokens=16",))
    texts = asyncio.run(ask_model(wide, [*bound, *free], tmp_path / "more", asking)).said
    assert all(texts[item.id].text.startswith("{") for item in bound)
    assert not any(texts[item.id].text.startswith("{") for item in free)


def test_an_answer_that_cannot_be_judged_is_a_wrong_one(items: list[Item], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two validators that disagree on a model's body end no evaluation: the answer counts as one that says nothing."""

    def disagree(*_: object) -> bool:
        raise RecordError("validators disagree", "leave the record out")

    item = next(one for one in items if one.shows_returns and one.wanted.ok and one.exchange.directive is None)
    assert judge(item, item.exchange.response.text).scores["truth"] == (1.0, 1.0)
    monkeypatch.setattr("carg.evaluation.verdicts.is_valid", disagree)
    verdict = judge(item, item.exchange.response.text)

    assert verdict.scores == judge(item, "").scores
    assert verdict.complaints[-1] == "validators disagree"
