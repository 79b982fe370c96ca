"""The world road as stages: tools shared fairly, the same digest at any width and after a part was lost."""

from collections import Counter
from pathlib import Path

import pytest
from worlds import TEXT, WORLD, draw_instance

from carg.domains import find_seed, list_seeds
from carg.errors import ConfigError
from carg.records import Session
from carg.scene import open_book, read_scenes
from carg.stages.by_world import (
    choose_operations,
    draw_instances,
    expand_by_world,
    generate_by_world,
    make_sessions,
    neutral_surface,
    share_fairly,
    worlds_of,
)
from carg.store import parts, read_records
from carg.world.definitions import tool_record
from carg.world.replay import replay


@pytest.fixture
def domains(tmp_path, monkeypatch):
    """A folder with the small world in it, as the only domain."""
    folder = tmp_path / "domains"
    (folder / "testing").mkdir(parents=True)
    (folder / "testing" / "tool_sheds.toml").write_text(TEXT)
    monkeypatch.setenv("CARG_DOMAINS", str(folder))
    return folder


def expand(run: Path, n_tools=20, n_instances=3, seed=1):
    run.mkdir(exist_ok=True)
    return expand_by_world(run / "expand", [find_seed("tool_sheds")], n_tools, n_instances, seed)


@pytest.mark.parametrize(
    ("sizes", "total", "shares"),
    [
        ([5, 5, 5], 6, [2, 2, 2]),
        ([1, 9, 9], 9, [1, 4, 4]),
        ([2, 3], None, [2, 3]),
        ([2, 3], 5, [2, 3]),
        ([4, 4, 4], 2, [1, 1, 0]),
        ([], 0, []),
    ],
)
def test_tools_are_shared_fairly(sizes, total, shares):
    """What one world lacks, others give."""
    assert share_fairly(sizes, total) == shares


def test_more_tools_than_there_are_cannot_be_shared():
    """It says how many there are."""
    with pytest.raises(ConfigError, match="hold 5"):
        share_fairly([2, 3], 6)


def test_chosen_operations_are_authored_to_two_fifths():
    """In the order of the file, the same for the same seed."""
    chosen = choose_operations(WORLD, 10, 3)
    order = list(WORLD.operations)

    assert len(chosen) == 10
    assert sum(operation.authored for operation in chosen) >= 4
    assert [order.index(operation.name) for operation in chosen] == sorted(order.index(o.name) for o in chosen)
    assert chosen == choose_operations(WORLD, 10, 3)
    assert len(choose_operations(WORLD, len(WORLD.operations), 1)) == len(WORLD.operations)


def test_tool_records_are_plain_and_bound_to_their_world():
    """Ids by content, neutral names, ISO dates."""
    tools = [tool_record(neutral_surface(WORLD), operation) for operation in WORLD.operations.values()]

    assert len({tool.id for tool in tools}) == len(tools)
    lend = next(tool for tool in tools if tool.name == "lend_tool")
    assert lend.key == "tool_sheds/counter/lend_tool"
    assert lend.binding == {"world": "tool_sheds", "operation": "lend_tool", "kind": "action"}
    assert (lend.effect, lend.resource, lend.id_argument) == ("action", "tool", "tool_id")
    assert lend == tool_record(neutral_surface(WORLD), WORLD.operations["lend_tool"])


def test_instances_are_drawn_for_each_service_that_has_tools():
    """Each with its own convention; the usual knobs most often."""
    tools = [tool_record(neutral_surface(WORLD), WORLD.operations[name]) for name in ("lend_tool", "get_member")]
    instances = draw_instances(WORLD, tools, 40, 1)

    assert {instance.service for instance in instances} == {"counter"}
    assert instances[0].operations == ("lend_tool", "get_member")
    assert len({instance.id for instance in instances}) == 40
    assert len({instance.convention.id for instance in instances}) == 40
    knobs = Counter(instance.knobs["most_loans"] for instance in instances)
    assert knobs.keys() == {1, 2, 3}
    assert knobs.most_common(1)[0][0] == 2


def test_sessions_of_an_instance_come_to_the_budget():
    """Three tenths in sessions."""
    _, sessions = make_sessions(draw_instance(1, "workshop"), 200, 1)
    sizes = Counter(session.kind for session in sessions for _ in session.exchanges)

    assert 200 <= sizes.total() <= 212
    assert 0.28 < sizes["session"] / sizes.total() < 0.38


def test_expand_writes_tools_and_instances(domains, tmp_path):
    """And counts what it wrote."""
    made = expand(tmp_path / "run")
    book = open_book(tmp_path / "run")

    assert made.records == {"tools": 20, "instances": 6}
    assert made.counts["authored"] >= 8
    assert (len(book.tools), len(book.instances)) == (20, 6)
    assert {tool for instance in book.instances.values() for tool in instance.tools} == book.tools.keys()


def test_domains_without_a_world_are_refused(domains, tmp_path):
    """With what to do."""
    (domains / "testing" / "plain.toml").write_text(TEXT.partition("kind =")[0])
    seeds = [seed for seed in list_seeds(domains) if seed.name == "plain"]
    with pytest.raises(ConfigError, match="world"):
        worlds_of(seeds)


def test_generate_is_the_same_again_and_after_a_part_is_lost(domains, tmp_path):
    """Parts that are there are kept; one that is not is made again, to the byte."""
    run = tmp_path / "run"
    expand(run)
    seen: list[Counter] = []
    made = generate_by_world(run, 120, 1, width=1, on_part=seen.append)
    files = {path.name: path.read_bytes() for path in (run / "generate").glob("*.jsonl")}
    (run / "generate" / "sessions-00001.jsonl").unlink()
    again = generate_by_world(run, 120, 1, width=1)

    assert len(seen) == 2
    assert made.records["exchanges"] >= 120
    assert again.digest == made.digest
    assert {path.name: path.read_bytes() for path in (run / "generate").glob("*.jsonl")} == files
    other = tmp_path / "other"
    expand(other)
    assert generate_by_world(other, 120, 2, width=1).digest != made.digest


def test_generate_is_the_same_at_any_width(domains, tmp_path):
    """In this process or in two others."""
    digests = []
    for width in (1, 2):
        expand(tmp_path / f"run{width}")
        digests.append(generate_by_world(tmp_path / f"run{width}", 60, 1, width=width).digest)

    assert digests[0] == digests[1]


def test_what_was_written_replays(domains, tmp_path):
    """Read back from disk, executed again: the same answers."""
    run = tmp_path / "run"
    expand(run)
    generate_by_world(run, 60, 1, width=1)
    book, count = open_book(run), 0
    for number in range(len(parts(run / "generate", "sessions"))):
        for scene in read_scenes(book, run, number):
            assert replay(scene) == [exchange.response for exchange in scene.session.exchanges]
            count += 1
    assert count == sum(len(list(read_records(Session, path))) for path in parts(run / "generate", "sessions"))


def test_generate_needs_instances_with_a_world(domains, tmp_path):
    """None, no sessions."""
    run = tmp_path / "run"
    expand(run, n_instances=0)
    with pytest.raises(ConfigError, match="no instance"):
        generate_by_world(run, 10, 1, width=1)
