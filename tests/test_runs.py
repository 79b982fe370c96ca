"""The commands of long paid runs: run, status, plan, failures, retries, teachers, drafts; against a loopback server."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from loopback import KEY, Loopback, serve
from tiny_run import Carg, carg

from carg.domain_check import DomainReport
from carg.ledger import read_run, read_slots, read_spent, store_spent, sum_up
from carg.prompts import load_prompt
from carg.records import Session, Tool
from carg.store import locked, read_manifest, read_parts
from carg.world.load import load_world

__all__ = ["carg"]
ROOT = Path(__file__).parents[1]
SEED = """title = "{title}"
category = "Trade"
summary = "Things are weighed, kept and passed on by the people of a yard who know every crate and permit by name."
topics = ["crate weighing", "permit checks", "gate log", "yard plan", "scale tests", "stock count"]
"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    with serve() as running:
        monkeypatch.setenv("CARG_API_KEY", KEY)
        yield running


@pytest.fixture
def seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A list of two domains without a world."""
    folder = tmp_path / "domains"
    (folder / "trade").mkdir(parents=True)
    for name in ("weighing", "keeping"):
        (folder / "trade" / f"{name}.toml").write_text(SEED.format(title=name.capitalize()))
    monkeypatch.setenv("CARG_DOMAINS", str(folder))
    return folder


def write_config(tmp_path: Path, server: Loopback | None, name: str = "run", **more: str) -> Path:
    """A config for the two seeds and the loopback model; `more` are further lines of a table."""
    asked = f'backend = "m"\napi-base = "{server.url}"\nwidth = 4\n' if server else ""
    tables = {
        "run": f'folder = "{tmp_path / name}"\n',
        "expand": f"tools = 14\n{asked}" if server else 'domains = ["beekeeping"]\ntools = 12\ninstances = 1\n',
        "generate": f"exchanges = 30\nworkers = 1\n{asked}",
        "filter": "workers = 1\n",
    }
    path = tmp_path / f"{name}.toml"
    path.write_text("".join(f"[{table}]\n{text}{more.get(table, '')}\n" for table, text in tables.items()))
    return path


def digests(run: Path) -> dict[str, str]:
    """The digest of each stage of a run."""
    folders = {"expand": run / "expand", "generate": run / "generate", "filter": run}
    return {stage: read_manifest(folder, stage)["digest"] for stage, folder in folders.items()}


# carg run ------------------------------------------------------------------------------------------------------------


def test_a_config_is_walked_once_and_then_is_done(server: Loopback, seeds: Path, tmp_path: Path, carg: Carg) -> None:
    """The first call does all stages, the second finds them done, asks nothing and exits 0."""
    config = write_config(tmp_path, server)

    first = carg("--quiet", "--json", "run", "--config", config)
    n_paid = server.n_paid
    again = carg("--quiet", "--json", "run", "--config", config)

    assert (first[0], again[0], server.n_paid) == (0, 0, n_paid)
    assert [made["again"] for made in orjson.loads(again[1])] == [True] * 3
    assert [made["stage"] for made in orjson.loads(first[1])] == ["expand", "generate", "filter"]
    assert first[1].replace('"again": false', '"again": true') == again[1]
    assert carg("run", "--config", config)[1].startswith("expand: was done: 14 tools, ")
    assert read_manifest(tmp_path / "run" / "expand", "expand")["counts"]["tools"] == 14


def test_two_runs_at_once_one_is_told_to_come_later(tmp_path: Path, carg: Carg) -> None:
    """The lock of the run or of one of its stages, held by another, is exit 75."""
    config = write_config(tmp_path, None)

    for name in (".run.lock", ".lock"):
        with locked(tmp_path / "run", name):
            code, out, err = carg("run", "--config", config)
            assert (code, out) == (75, "")
            assert "another run is at work" in err


def test_minutes_that_are_over_are_exit_75(tmp_path: Path, carg: Carg) -> None:
    """A visit ends by the clock, what it made is kept, and a later one makes of it what one long visit makes."""
    short = write_config(tmp_path, None, "short", run="minutes = 1e-9\n")

    assert carg("--quiet", "run", "--config", short)[0] == 75
    assert (tmp_path / "short" / "generate" / "sessions-00000.jsonl").exists()
    assert carg("--quiet", "run", "--config", write_config(tmp_path, None, "short"))[0] == 0
    assert carg("--quiet", "run", "--config", write_config(tmp_path, None, "whole"))[0] == 0
    assert digests(tmp_path / "short") == digests(tmp_path / "whole")


def test_money_of_the_run_is_counted_over_all_visits(server: Loopback, seeds: Path, tmp_path: Path, carg: Carg) -> None:
    """[run] max-tokens is spent once: the next visit pays nothing until it is raised, and then goes on."""
    carg("--quiet", "run", "--config", write_config(tmp_path, server, run="max-tokens = 600\n"))
    n_paid = server.n_paid
    code, _, err = carg("--quiet", "run", "--config", write_config(tmp_path, server, run="max-tokens = 600\n"))

    assert (code, server.n_paid) == (75, n_paid)
    assert "max-tokens is spent by all visits together" in err
    assert 4 <= n_paid <= 4 + 4 - 1
    assert carg("--quiet", "run", "--config", write_config(tmp_path, server))[0] == 0
    assert carg("--quiet", "run", "--config", write_config(tmp_path, server, "whole"))[0] == 0
    assert digests(tmp_path / "run") == digests(tmp_path / "whole")


def test_a_run_with_too_many_failures_stops_there(server: Loopback, seeds: Path, tmp_path: Path, carg: Carg) -> None:
    """Exit 3 at the stage, on every visit, and nothing is paid for on top of it, until the slots are tried again."""
    server.shares = {"nonsense": 1.0}
    config = write_config(tmp_path, server)

    code, out, err = carg("--quiet", "run", "--config", config)

    assert code == 3
    assert out.startswith("expand: done: 0 tools")
    assert "slots failed" in err
    assert carg("--quiet", "run", "--config", config)[0] == 3
    assert not (tmp_path / "run" / "generate").exists()
    server.shares = {}
    assert carg("--quiet", "run", "--config", config, "--retry-failed")[0] == 0


def test_changed_settings_are_named(tmp_path: Path, carg: Carg) -> None:
    """A config that no longer fits what is there is an error that names the change; other tables still do."""
    carg("--quiet", "run", "--config", write_config(tmp_path, None))
    code, _, err = carg("--quiet", "run", "--config", write_config(tmp_path, None, run="seed = 5\n"))

    assert code == 1
    assert "seed: 0 -> 5" in err
    assert "--fresh" in err


def test_finetune_is_due_once_for_a_dataset(tmp_path: Path, carg: Carg, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets the settings of its table and the time that is left, and is not begun again for the same rows."""
    told: list[Any] = []

    def train(screen: Any, dataset: Path, out: Path, **options: Any) -> Any:
        told.append((dataset, out, options))
        return SimpleNamespace(parameters=5, conversations=7, steps=3, loss=0.5)

    monkeypatch.setattr("carg.training.train", train)
    config = write_config(tmp_path, None)
    config.write_text(config.read_text() + '[finetune]\ninit = "tiny"\nlora-rank = 2\nminutes = 9\n')

    outs = [carg("--quiet", "run", "--config", config)[1] for _ in range(2)]

    run = tmp_path / "run"
    options = {"init": "tiny", "lora_rank": 2, "seed": 0, "minutes": 9, "until": math.inf}
    assert told == [(run / "dataset", run / "model", options)]
    assert "finetune: done: 5 parameters, 7 conversations, 3 steps" in outs[0]
    assert "finetune: was done" in outs[1]


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [("[run]\nspeed = 1\n[filter]\n", 1, "speed is unknown"), ("[filter]\n", 1, "generate is not finished")],
)
def test_errors_of_run_are_two_lines(tmp_path: Path, carg: Carg, text: str, code: int, words: str) -> None:
    """What, and how to mend it; no traceback."""
    config = tmp_path / "run.toml"
    config.write_text(
        text.replace("[filter]", f'[run]\nfolder = "{tmp_path}/x"\n[filter]') if "speed" not in text else text
    )

    found, out, err = carg("run", "--config", config)

    assert (found, out) == (code, "")
    assert words in err
    assert err.count("\n") == 2


def test_a_filter_that_was_killed_goes_on(tmp_path: Path, carg: Carg) -> None:
    """What a kill leaves (parts, or a dataset without a manifest) is used or set aside, never taken for whole."""
    config = write_config(tmp_path, None)
    carg("--quiet", "run", "--config", config)
    whole = digests(tmp_path / "run")
    (tmp_path / "run" / "filter.manifest.json").unlink()
    (tmp_path / "run" / "parts").mkdir()
    (tmp_path / "run" / "parts" / "counts-00000.jsonl").write_text("{}\n")

    assert carg("--quiet", "run", "--config", config)[0] == 0
    assert digests(tmp_path / "run") == whole
    assert (tmp_path / "run" / "dataset.1").is_dir()


def test_kill_9_and_rerun_give_equal_digests(tmp_path: Path, carg: Carg) -> None:
    """A run of worlds, killed three times, then run to its end: digests of a quiet run."""
    config = write_config(tmp_path, None, "killed")
    command = [sys.executable, "-m", "carg", "--quiet", "run", "--config", str(config)]
    run = tmp_path / "killed"
    moments: list[Callable[[], bool]] = [
        lambda: (run / "expand" / "tools-00000.jsonl").exists(),
        lambda: (run / "generate").exists(),
        lambda: (run / "parts").exists(),
    ]
    for is_time in moments:
        victim = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not is_time() and victim.poll() is None:
            time.sleep(0.001)
        os.kill(victim.pid, signal.SIGKILL)
        assert victim.wait() == -signal.SIGKILL
    assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 0

    assert carg("--quiet", "run", "--config", write_config(tmp_path, None, "quiet"))[0] == 0
    assert digests(tmp_path / "killed") == digests(tmp_path / "quiet")


# Failures and retries ------------------------------------------------------------------------------------------------


def expand(carg: Carg, run: Path, server: Loopback, *more: object) -> tuple[int, str, str]:
    given = ("--tools", 14, "--backend", "m", "--api-base", server.url, "--width", 4)
    return carg("--quiet", "expand", "--run", run, *given, *more)


def test_too_many_failed_slots_are_exit_3_with_a_manifest(
    server: Loopback, seeds: Path, tmp_path: Path, carg: Carg
) -> None:
    """Failures are data: the stage is whole, its manifest says how many; exit 3 each time, also when allowed."""
    server.shares = {"nonsense": 1.0}

    code, out, err = expand(carg, tmp_path / "run", server)

    assert code == 3
    assert "slots failed" in err
    assert "--retry-failed" in err
    slots = read_manifest(tmp_path / "run" / "expand", "expand")["slots"]
    assert slots["requested"] == slots["failed"] > 0
    assert "slots failed" in out
    assert expand(carg, tmp_path / "run", server)[0] == 3
    code, _, err = expand(carg, tmp_path / "run", server, "--max-failed", 1)
    assert (code, "14 tools are missing" in err) == (3, True)


@pytest.mark.parametrize("trouble", ["nonsense", "500"])
def test_failed_slots_are_tried_again(
    server: Loopback, seeds: Path, tmp_path: Path, carg: Carg, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a bad day --retry-failed makes what was asked for; trouble of the server leaves no trace in the digest."""
    monkeypatch.setattr("carg.asking._backoff", lambda _state: 0.0)
    monkeypatch.setattr("carg.asking.FIRST_SILENT_CALLS", 1000)
    monkeypatch.setattr("carg.asking.SILENT_CALLS", 1000)
    server.shares = {trouble: 1.0}
    assert expand(carg, tmp_path / "run", server)[0] == 3
    server.shares = {}

    assert expand(carg, tmp_path / "run", server)[0] == 3
    assert expand(carg, tmp_path / "run", server, "--retry-failed")[0] == 0
    n_paid = server.n_paid
    assert expand(carg, tmp_path / "run", server, "--retry-failed")[0] == 0

    assert server.n_paid == n_paid
    found = read_manifest(tmp_path / "run" / "expand", "expand")
    assert found["counts"]["tools"] == 14
    assert found["slots"]["failed"] == 0
    expand(carg, tmp_path / "quiet", server)
    assert trouble == "nonsense" or found["digest"] == read_manifest(tmp_path / "quiet" / "expand", "expand")["digest"]


def test_models_by_share_and_a_pace(server: Loopback, seeds: Path, tmp_path: Path, carg: Carg) -> None:
    """Both models are asked, each for its slots; the order in which they are named changes nothing."""
    code = expand(carg, tmp_path / "run", server, "--backend", "a=0.5,b=0.5", "--seed", 1, "--rpm", 1e6)[0]
    n_paid = server.n_paid

    assert code == 0
    assert {line.model for line in read_spent(tmp_path / "run" / "expand")} == {"a", "b"}
    assert expand(carg, tmp_path / "run", server, "--backend", "b=0.5,a=0.5", "--seed", 1)[0] == 0
    assert server.n_paid == n_paid
    code, _, err = expand(carg, tmp_path / "other", server, "--backend", "a=0.5,b=0.6")
    assert (code, "do not make 1" in err) == (1, True)


# Ledger, status, plan ------------------------------------------------------------------------------------------------


def test_the_ledger_is_the_journal(server: Loopback, seeds: Path, tmp_path: Path, carg: Carg) -> None:
    """Manifest and report tell every reply of every visit, by stage, prompt and model; a summary read later agrees."""
    expand(carg, tmp_path / "run", server, "--max-tokens", 300)
    assert expand(carg, tmp_path / "run", server)[0] == 0
    expand_folder = tmp_path / "run" / "expand"

    lines = read_spent(expand_folder)
    (expand_folder / "spent.json").unlink()

    assert read_spent(expand_folder) == lines
    assert sum_up(lines).replies == server.n_paid
    assert sum_up(lines).tokens_in == 100 * server.n_paid
    spent = read_manifest(expand_folder, "expand")["spent"]
    assert sum(line["replies"] for line in spent) == server.n_paid
    assert carg("--quiet", "run", "--config", write_config(tmp_path, server))[0] == 0
    tables = {
        table["title"]: table for table in orjson.loads((tmp_path / "run" / "report.json").read_bytes())["tables"]
    }
    assert tables["Cost"]["rows"][-1][3] == server.n_paid


def test_money_is_told_by_row(tmp_path: Path) -> None:
    """Dollars of a stage, and dollars of an accepted row; replies without a price are named, not counted as free."""
    from carg.ledger import cost_table

    folder = tmp_path / "generate"
    folder.mkdir()
    reply = {"prompt": "respond", "model": "x", "tokens_in": 10, "tokens_out": 5, "text": "a"}
    entries = [{**reply, "cost": 0.5}, {**reply, "cost": 1.5}, {**reply, "model": "y", "cost": None}]
    (folder / "replies.jsonl").write_bytes(b"".join(orjson.dumps(entry) + b"\n" for entry in entries) + b'{"torn":')

    table = cost_table(tmp_path, 4)[0]

    assert table.rows == (
        ("generate", "respond", "x", 2, 20, 10, 2.0, 0.5),
        ("generate", "respond", "y", 1, 10, 5, None, None),
        ("", "", "", 3, 30, 15, 2.0, 0.5),
    )
    assert table.notes.startswith("1 replies")
    assert cost_table(tmp_path / "none", 4) == []
    assert len(read_run(tmp_path)) == 2


def test_status_tells_each_stage(server: Loopback, seeds: Path, tmp_path: Path, carg: Carg) -> None:
    """Done, begun, not begun; slots that are owed again; replies; while another holds the lock."""
    run = tmp_path / "run"
    expand(carg, run, server)
    carg("--quiet", "generate", "--run", run, "--backend", "m", "--api-base", server.url, "--max-tokens", 900)

    with locked(run):
        code, out, _ = carg("--json", "status", "--run", run)

    stages = {stage["stage"]: stage for stage in orjson.loads(out)["stages"]}
    assert code == 0
    assert [stages[name]["state"] for name in stages] == ["done", "begun", "not begun", "not begun"]
    assert stages["expand"]["counts"]["tools"] == 14
    assert stages["expand"]["slots"] == {"accepted": 3}
    assert stages["expand"]["replies"] + stages["generate"]["replies"] == server.n_paid
    assert stages["expand"]["journal_bytes"] > 1000
    assert "done" in carg("status", "--run", run)[1]
    code, _, err = carg("status", "--run", tmp_path / "none")
    assert (code, "no such run" in err) == (1, True)


def test_status_and_help_load_nothing_heavy(tmp_path: Path) -> None:
    """Neither polars, pyarrow, litellm, torch nor transformers: so that a look at a run costs nothing."""
    code = (
        "import sys; sys.argv = ['carg', 'status', '--run', sys.argv[1]]\n"
        "from carg.cli import main\n"
        "try: main()\n"
        "except SystemExit as done: assert not done.code, done.code\n"
        "print(sorted({'polars', 'pyarrow', 'litellm', 'torch', 'transformers', 'aiohttp'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"


def test_plan_measures_what_is_there(server: Loopback, seeds: Path, tmp_path: Path, carg: Carg) -> None:
    """Before a run: estimates within a factor of 2, 4 for tools. With replies: their own means, and a closer range."""
    given = ("--run", tmp_path / "run", "--backend", "openai/gpt-5-mini", "--tools", 14, "--exchanges", 300)

    before = orjson.loads(carg("--json", "plan", *given)[1])["lines"]
    expand(carg, tmp_path / "run", server)
    carg(
        "--quiet", "generate", "--run", tmp_path / "run", "--backend", "m", "--api-base", server.url, "--exchanges", 60
    )
    after = {line["prompt"]: line for line in orjson.loads(carg("--json", "plan", *given)[1])["lines"]}

    assert {line["prompt"] for line in before} == {"services", "tools", "calls", "session", "respond"}
    assert {line["prompt"]: line["spread"] for line in before if line["spread"] != 2.0} == {"tools": 4.0}
    assert all(line["cost"] > 0 for line in before)
    assert after.keys() == {"calls", "session", "respond"}
    measured = after["respond"]
    assert measured["n_measured"] >= 20
    assert (measured["tokens_in"], measured["tokens_out"]) == (100 * measured["calls"], 50 * measured["calls"])
    assert 1.1 < measured["spread"] < 1.5
    assert "expect" in carg("plan", *given)[1]
    assert carg("plan", "--run", tmp_path / "run")[0] == 2


# Teachers ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def bees(tmp_path: Path, carg: Carg) -> Path:
    """A run with a few tools of a world."""
    run = tmp_path / "bees"
    carg("--quiet", "expand", "--run", run, "-d", "beekeeping", "--tools", 12, "--instances", 1)
    return run


def teach(carg: Carg, run: Path, server: Loopback, *more: object) -> tuple[int, str, str]:
    given = ("--exchanges", 40, "--workers", 1, "--backend", "m", "--api-base", server.url)
    return carg("--quiet", "generate", "--run", run, *given, *more)


def truths_of(run: Path) -> list[Session]:
    return list(read_parts(Session, run / "generate", "truths"))


def agreement(carg: Carg, run: Path) -> dict[str, dict[str, Any]]:
    [table] = orjson.loads(carg("--json", "stats", "teacher", "--run", run)[1])
    return {row[1]: dict(zip(table["columns"], row, strict=True)) for row in table["rows"]}


def know_truth(server: Loopback, run: Path, spoil: Callable[[str], str] = lambda text: text) -> None:
    """From now on the server answers every call as the world did, or as `spoil` changes that."""
    from carg.render import render_row
    from carg.scene import open_book
    from carg.stages.teacher import truth_scenes

    known: dict[bytes, str] = {}
    for scene in truth_scenes(open_book(run), run / "generate", 0):
        messages = [{"role": item.role, "content": item.content} for item in render_row(scene).messages]
        for at in range(2, len(messages), 2):
            known[orjson.dumps(messages[:at])] = messages[at]["content"]
    server.answer = lambda messages: spoil(known[orjson.dumps(messages)])


def test_a_teacher_that_knows_the_truth_agrees_in_all(server: Loopback, bees: Path, carg: Carg) -> None:
    """The model reads the messages of the training row; answers equal to the world's score 1 everywhere."""
    server.shares = {"500": 1.0}
    teach(carg, bees, server, "--max-minutes", 1e-9)
    server.shares = {}
    know_truth(server, bees)

    code, _, err = teach(carg, bees, server)

    assert (code, err) == (0, "")
    truths, made = truths_of(bees), list(read_parts(Session, bees / "generate", "sessions"))
    assert [session.made_from for session in made] == [(truth.id, "m") for truth in truths]
    assert {exchange.truth for session in made for exchange in session.exchanges} == {"teacher"}
    assert [[turn.response.text.strip() for turn in session.exchanges] for session in made] == [
        [turn.response.text.strip() for turn in truth.exchanges] for truth in truths
    ]
    lines = agreement(carg, bees)
    assert {line["label"] for line in lines.values()} == {1.0}
    assert {line["code"] for line in lines.values()} <= {1.0, None}
    assert {line["values"] for line in lines.values()} <= {1.0, None}
    assert lines["all"]["of values"] > 50
    assert carg("--quiet", "filter", "--run", bees, "--workers", 1)[0] == 0


def test_a_teacher_that_says_nothing_agrees_in_nothing(server: Loopback, bees: Path, carg: Carg) -> None:
    """Text that is no answer of the service is unreadable: neither a label nor a value is counted as right."""
    server.answer = lambda messages: "As an AI I cannot know."
    teach(carg, bees, server)

    lines = agreement(carg, bees)

    assert lines["valid"]["label"] == 0.0
    assert lines["valid"]["values"] == 0.0
    assert lines["valid"]["readable"] == 0.0


def test_teachers_resume_and_repeat(server: Loopback, bees: Path, tmp_path: Path, carg: Carg) -> None:
    """Budgets cut the work in visits; together they pay once and give the digest of one visit."""
    codes = []
    while len(codes) < 30 and (not codes or codes[-1] == 75):
        codes.append(teach(carg, bees, server, "--max-tokens", 1500, "--width", 2)[0])
    digest, n_paid = read_manifest(bees / "generate", "generate")["digest"], server.n_paid

    assert len(codes) > 2
    assert codes[-1] == 0
    assert teach(carg, bees, server, "--fresh")[0] == 0
    assert server.n_paid == 2 * n_paid
    assert read_manifest(bees / "generate", "generate")["digest"] == digest


def test_teacher_stats_want_a_teacher(bees: Path, carg: Carg) -> None:
    """A run without model answers to world calls is a known error."""
    code, _, err = carg("stats", "teacher", "--run", bees)

    assert (code, "no model answered" in err) == (1, True)


# Drafts --------------------------------------------------------------------------------------------------------------

WORLD = (ROOT / "domains" / "physics" / "classical_mechanics.toml").read_text()


def draft(carg: Carg, server: Loopback, out: Path, *more: object) -> tuple[int, str, str]:
    given = ("--out", out, "--backend", "m", "--api-base", server.url)
    return carg("domains", "draft", *given, *more, "Classical mechanics")


def write_in_turn(server: Loopback, files: list[str]) -> list[str]:
    """The server answers with these files, one after another; what it was told each time."""
    told: list[str] = []

    def write(messages: list[Any]) -> Any:
        told.append(messages[1]["content"])
        return {"file": files[len(told) - 1]}

    server.answer = write
    return told


def test_a_draft_is_mended_until_it_passes(
    server: Loopback, tmp_path: Path, carg: Carg, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No TOML, then a key that no world has, then a rule out of reach: each complaint comes back; the last is kept."""

    def check(path: Path, services: int) -> DomainReport:
        load_world(path)
        faults = ["[formulas.x] never reached"] if "OUT OF REACH" in path.read_text() else []
        return DomainReport(path, faults, [], {})

    monkeypatch.setattr("carg.drafting.check_domain", check)
    unknown = WORLD.replace("[formulas.", "[formulaz.", 1)
    told = write_in_turn(server, ["title = \n" * 60, unknown, WORLD + "# OUT OF REACH", WORLD])
    out_path = tmp_path / "mechanics.toml"

    code, out, err = draft(carg, server, out_path)

    assert code == 0
    assert "sound after 4 rounds" in out
    assert "round 1: 1 faults" in err
    assert "nothing yet: write it whole" in told[0]
    assert '"topics":' in told[0]
    complaints = [text.rpartition("What the checker says")[2] for text in told]
    assert "not TOML" in complaints[1]
    assert "formulaz" in complaints[2]
    assert "never reached" in complaints[3]
    assert out_path.read_text() == "draft = true\n" + WORLD.strip() + "\n"
    n_paid = server.n_paid
    out_path.unlink()
    assert draft(carg, server, out_path)[0] == 0
    assert server.n_paid == n_paid


@pytest.mark.slow
def test_a_draft_is_judged_by_the_whole_checker(server: Loopback, tmp_path: Path, carg: Carg) -> None:
    """A sound world passes as it is; with a wrong example it comes back."""
    wrong = re.sub(r"(example = \{[^}]*?)(\d+\.\d+)", r"\g<1>123456.789", WORLD, count=1)
    told = write_in_turn(server, [wrong, WORLD])

    assert draft(carg, server, tmp_path / "mechanics.toml")[0] == 0
    assert "123456.789" in told[1]


def test_drafts_that_do_not_pass_are_told(server: Loopback, tmp_path: Path, carg: Carg) -> None:
    """Rounds that are over are exit 3 with the complaints and the file beside; a spent budget is exit 75."""
    server.answer = lambda messages: {"file": "title = \n" * 60}

    code, _, err = draft(carg, server, tmp_path / "bees.toml", "--rounds", 2)
    assert code == 3
    assert "1 faults after 2 rounds" in err
    assert (tmp_path / "bees.toml.unfinished").exists()
    assert not (tmp_path / "bees.toml").exists()
    assert draft(carg, server, tmp_path / "bees.toml", "--rounds", 9, "--max-tokens", 100)[0] == 75
    (tmp_path / "there.toml").write_text("x")
    code, _, err = draft(carg, server, tmp_path / "there.toml")
    assert (code, "is there already" in err) == (1, True)
    assert carg("domains", "draft", "Mechanics")[0] == 2


# Kills, signals, spoiled answers, replay ------------------------------------------------------------------------------


def test_kills_at_drawn_events_lose_and_double_nothing(tmp_path: Path) -> None:
    """In the middle of an append, before a rename, after a sync: the claims of benchmarks/kills.py hold for some."""
    size = ("--tools", "12", "--exchanges", "24", "--width", "4")
    command = [sys.executable, ROOT / "benchmarks" / "kills.py", "--kills", "3", "--seed", "1", *size]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    assert done.stdout.splitlines()[-1] == "3 of 3 kills sound; at most 4 calls were in flight"
    assert done.returncode == 0


def steady(shares: dict[str, float], given: Counter[str]) -> Callable[[str], str]:
    """Misbehaviour that follows from the request alone; `given` counts it by kind."""

    def draw(key: str) -> str:
        spot = Random(key).random()
        for kind, share in shares.items():
            if spot < share:
                given[kind] += 1
                return kind
            spot -= share
        return ""

    return draw


def test_spoiled_answers_are_in_no_shard_and_all_in_the_ledger(
    server: Loopback, seeds: Path, tmp_path: Path, carg: Carg, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers cut, empty, no JSON or against the schema are counted to the last one, by reason, over two visits."""
    spoiled = Counter[str]()
    shares = {"length": 0.03, "nonsense": 0.03, "empty": 0.03, "refuse": 0.03}
    monkeypatch.setattr(server, "_misbehaviour", steady(shares, spoiled))

    for limit, code in (("max-tokens = 6000\n", 75), ("", 0)):
        config = write_config(tmp_path, server, run=limit)
        config.write_text(config.read_text().replace("exchanges = 30", "exchanges = 150"))
        assert carg("--quiet", "run", "--config", config)[0] == code

    run, found = tmp_path / "run", Counter[str]()
    for stage in ("expand", "generate"):
        found.update(read_manifest(run / stage, stage)["unusable"])
    reasons = {"cut": "length", "schema": "nonsense", "empty": "empty", "not JSON": "refuse"}
    assert len(spoiled) > 2
    assert found == +Counter({reason: spoiled[kind] for reason, kind in reasons.items()})
    tables = {table["title"]: table for table in orjson.loads((run / "report.json").read_bytes())["tables"]}
    assert sum(row[2] for row in tables["Answers not taken"]["rows"]) == spoiled.total()
    kept = b"".join(path.read_bytes() for path in run.glob("generate/sessions-*.jsonl"))
    assert b"weather" not in kept
    assert b"can't help" not in kept


def test_a_whole_run_is_replayed_without_a_network(server: Loopback, seeds: Path, tmp_path: Path, carg: Carg) -> None:
    """expand, generate and filter from the journals alone: the same digests, and nothing is asked."""
    server.shares = {"nonsense": 0.03, "length": 0.03, "fence": 0.1}
    carg("--quiet", "run", "--config", write_config(tmp_path, server))
    n_asked = server.n_asked
    config = write_config(tmp_path, server, "again")
    text = config.read_text().replace(f'api-base = "{server.url}"\n', "")
    for stage in ("expand", "generate"):
        text = text.replace('backend = "m"', f'backend = "replay:{tmp_path / "run" / stage / "replies.jsonl"}"', 1)
    config.write_text(text)

    assert carg("--quiet", "run", "--config", config)[0] == 0
    assert digests(tmp_path / "again") == digests(tmp_path / "run")
    assert server.n_asked == n_asked


@pytest.mark.parametrize("backend", ["m", "world"])
def test_sigterm_is_a_clean_stop(
    server: Loopback, seeds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    """As `timeout` sends it, to the whole group: exit 130, one line, no process left; the next visit ends the work."""
    if backend == "world":
        monkeypatch.delenv("CARG_DOMAINS")
    server.delay_s = 0.02
    config = write_config(tmp_path, server if backend == "m" else None)
    config.write_text(config.read_text().replace("workers = 1", "workers = 2").replace("= 30\n", "= 300\n"))
    command = [sys.executable, "-m", "carg", "--quiet", "run", "--config", str(config)]
    begun = tmp_path / "run" / "generate" / ("slots.jsonl" if backend == "m" else "generate.settings.json")

    victim = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stderr=subprocess.PIPE, text=True)
    while not begun.exists() and victim.poll() is None:
        time.sleep(0.001)
    os.killpg(victim.pid, signal.SIGTERM)

    assert victim.communicate()[1].strip() == "interrupted; the same command goes on where it stopped"
    assert victim.returncode == 130
    server.delay_s = 0
    assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 0


# What is due, and what is refused -------------------------------------------------------------------------------------


def test_more_tools_make_generate_due(server: Loopback, seeds: Path, tmp_path: Path, carg: Carg) -> None:
    """--retry-failed on expand: the next visit pays for the new tools alone, and ends as if nothing had failed."""
    ill = server.answer
    server.answer = lambda messages: ill(messages) if "Keeping" not in str(messages) else {"weather": "fine"}
    config = write_config(tmp_path, server, expand="max-failed = 1.0\n")
    assert carg("--quiet", "run", "--config", config)[0] == 0
    before, n_paid = digests(tmp_path / "run"), server.n_paid
    server.answer = ill

    assert expand(carg, tmp_path / "run", server, "--retry-failed")[0] == 0
    assert carg("--quiet", "run", "--config", config)[0] == 0

    after = digests(tmp_path / "run")
    assert not set(before.values()) & set(after.values())
    domains = {tool.domain for tool in read_parts(Tool, tmp_path / "run" / "expand", "tools")}
    assert domains == {"weighing", "keeping"}
    assert n_paid < server.n_paid
    n_paid = server.n_paid
    assert carg("--quiet", "run", "--config", config)[0] == 0
    assert server.n_paid == n_paid


def test_fresh_sets_the_whole_run_aside(tmp_path: Path, carg: Carg) -> None:
    """Other settings with --fresh: the old run stays whole under another name."""
    carg("--quiet", "run", "--config", write_config(tmp_path, None))
    before = digests(tmp_path / "run")

    assert carg("--quiet", "run", "--config", write_config(tmp_path, None, run="seed = 5\n"), "--fresh")[0] == 0

    assert digests(tmp_path / "run.1") == before
    assert digests(tmp_path / "run") != before


def test_a_changed_prompt_is_named(
    server: Loopback, seeds: Path, tmp_path: Path, carg: Carg, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that began with other words of a prompt does not go on with new ones; other stages are not concerned."""
    assert expand(carg, tmp_path / "run", server)[0] == 0
    known = load_prompt("tools")
    other = {"tools": replace(known, digest="0" * 64)}
    monkeypatch.setattr("carg.prompts.load_prompt", lambda name: other.get(name) or load_prompt(name))

    code, _, err = expand(carg, tmp_path / "run", server)

    assert code == 1
    assert "road.prompts.tools: " in err
    assert "prompts.services" not in err
    assert "--fresh" in err


def test_status_starts_where_the_note_ends(tmp_path: Path) -> None:
    """Slots and replies from the note and the tail are those of the whole journals; a note of a longer one is void."""
    folder = tmp_path / "generate"
    folder.mkdir()
    reply = {"prompt": "respond", "model": "x", "tokens_in": 10, "tokens_out": 5, "cost": 0.5}
    lines = [("a", "failed"), ("b", "accepted"), ("a", "owed"), ("c", "failed"), ("a", "accepted"), ("c", "owed")]
    seen = []
    for name, status in lines:
        with (folder / "slots.jsonl").open("ab") as file:
            file.write(orjson.dumps({"slot": name, "status": status, "records": {}}) + b"\n")
        with (folder / "replies.jsonl").open("ab") as file:
            file.write(orjson.dumps(reply) + b"\n")
        store_spent(folder)
        seen.append((read_slots(folder), sum_up(read_spent(folder)).replies))

    assert seen[3] == ({"accepted": 1, "failed": 1, "owed": 1}, 4)
    assert seen[-1] == ({"accepted": 2, "owed": 1}, 6)
    (folder / "slots.jsonl").write_bytes(b"")
    (folder / "replies.jsonl").write_bytes(b"")
    assert (read_slots(folder), read_spent(folder)) == ({}, [])


def test_imported_tools_get_as_many_calls_as_asked_for(tmp_path: Path, carg: Carg) -> None:
    """What one tool has no place for, another takes; what none has is said."""
    number = {"type": "number", "description": "a number"}
    shapes = {"ping": {}, "add": {"a": number, "b": number}, "double": {"a": number}}
    tools = [
        {
            "name": name,
            "description": f"Does {name} and answers.",
            "parameters": {"type": "object", "properties": properties, "required": [*properties]},
        }
        for name, properties in shapes.items()
    ]
    (tmp_path / "tools.json").write_bytes(orjson.dumps(tools))
    (tmp_path / "ping.json").write_bytes(orjson.dumps(tools[:1]))
    for name in ("tools", "ping"):
        carg("--quiet", "import", "--run", tmp_path / name, tmp_path / f"{name}.json")

    for wanted in (1, 11, 100):
        made = orjson.loads(
            carg("--json", "generate", "--run", tmp_path / "tools", "--exchanges", wanted, "--fresh")[1]
        )
        assert (made["counts"]["calls"], made["counts"].get("not found", 0)) == (wanted, 0)
    _, out, err = carg("generate", "--run", tmp_path / "ping", "--exchanges", 500)
    found = re.search(r"^ calls +(\d+)", out, re.MULTILINE)
    assert found
    assert f"{500 - int(found[1])} of 500 calls were not found" in err


def test_a_world_named_by_its_file_needs_no_list(tmp_path: Path, carg: Carg, monkeypatch: pytest.MonkeyPatch) -> None:
    """A draft is used by path: the run keeps a copy, so that every stage finds it, also when the file is gone."""
    path = tmp_path / "drafts" / "falling.toml"
    path.parent.mkdir()
    path.write_text("draft = true\n" + WORLD)
    run = tmp_path / "run"

    assert carg("--quiet", "expand", "--run", run, "-d", path, "--instances", 1)[0] == 0
    path.unlink()
    assert carg("--quiet", "generate", "--run", run, "--exchanges", 40, "--workers", 1)[0] == 0
    assert carg("--quiet", "filter", "--run", run, "--workers", 1)[0] == 0
    assert read_manifest(run, "filter")["counts"]["rows/kept"] > 0


def test_faults_of_several_files_are_told_at_once(tmp_path: Path, carg: Carg) -> None:
    """Of worlds in a folder, and of names that nobody knows."""
    for name in ("one", "two"):
        (tmp_path / f"{name}.toml").write_text(WORLD.replace("[formulas.", "[formulaz.", 1))

    _, _, err = carg("expand", "--run", tmp_path / "run", "-d", tmp_path)
    assert "one.toml: " in err
    assert "two.toml: " in err
    _, _, err = carg("expand", "--run", tmp_path / "run", "-d", "nada", "-d", "niente")
    assert "'nada' is unknown\ndomain 'niente' is unknown" in err


def test_the_forecast_holds(server: Loopback, seeds: Path, tmp_path: Path, carg: Carg) -> None:
    """What a run asks of each prompt, with a few answers spoiled, lies within the range that was told before it."""
    server.shares = {"nonsense": 0.03, "length": 0.01}
    given = ("--run", tmp_path / "run", "--backend", "m", "--api-base", server.url)
    lines = orjson.loads(carg("--json", "plan", *given, "--tools", 40, "--exchanges", 300)[1])["lines"]

    assert carg("--quiet", "expand", *given, "--tools", 40)[0] == 0
    assert carg("--quiet", "generate", *given, "--exchanges", 300)[0] == 0

    asked = {line.prompt: line.replies for line in read_run(tmp_path / "run")}
    off = {line["prompt"]: asked[line["prompt"]] / line["calls"] for line in lines}
    assert off.keys() == asked.keys()
    assert {
        line["prompt"]: off[line["prompt"]]
        for line in lines
        if not 1 / line["spread"] <= off[line["prompt"]] <= line["spread"]
    } == {}


def test_a_log_says_calls_in_flight_and_money(
    server: Loopback, seeds: Path, tmp_path: Path, carg: Carg, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Besides how much is done and how fast."""
    monkeypatch.setattr("carg.console.LINE_EVERY_S", 0.0)
    given = ("--tools", 14, "--backend", "m", "--api-base", server.url, "--width", 4)

    _, _, err = carg("expand", "--run", tmp_path / "run", *given)

    assert re.search(r"^expand: \d+ of 14 tools, [\d,.]+/(s|min); \d+ calls, \d in flight$", err, re.MULTILINE)
