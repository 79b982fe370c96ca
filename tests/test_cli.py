"""Commands as people meet them: every bad input is one clear error, its exit code, and nothing is lost."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import orjson
import pytest
from loopback import KEY, Loopback, serve
from small_world import TEXT
from tiny_run import ROOT, Carg, carg, domains, files_of, in_process, made_once, run, write_domain

from carg import cli
from carg.store import locked, read_manifest

__all__ = ["carg", "domains", "made_once", "run"]
EXPAND = ("expand", "--instances", 3)
GENERATE = ("generate", "--exchanges", 90, "--workers", 1)
FILTER = ("filter", "--workers", 1)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    with serve() as running:
        monkeypatch.setenv("CARG_API_KEY", KEY)
        yield running


def assert_told(ended: tuple[int, str, str], *words: str, code: int = 1) -> None:
    """The exit code; nothing on stdout; on stderr what and where, then how to mend it, and no traceback."""
    found, out, err = ended
    assert found == code, err
    assert out == ""
    assert "Traceback" not in err
    assert err.startswith("error: "), err
    assert err.splitlines()[-1].startswith("mend: "), err
    for word in words:
        assert word in err


# Domains ------------------------------------------------------------------------------------------------------------


def test_a_broken_domain_file_tells_all_its_faults(domains: Path, tmp_path: Path, carg: Carg) -> None:
    """File and entry of each, of the seed as of the world; nothing is made."""
    spoiled = TEXT.replace('on = "loan"\nmoves = "open', 'on = "lone"\nmoves = "open').replace("[2, 14]", "[14, 2]")
    write_domain(domains, "tool_library", spoiled)
    ended = carg(*EXPAND, "--run", tmp_path / "run", "-d", "tool_library")
    broken = tmp_path / "broken.toml"
    broken.write_text('title = 3\nkind = "records"\n')

    assert_told(ended, "[actions.bring_back.on]", "mean 'loan'?", "[resources.loan.fields.due] least 14")
    assert_told(carg(*EXPAND, "-d", broken), "[title]", "[category]", "[summary]", "[topics]")
    assert not list((tmp_path / "run").glob("expand/*.jsonl"))


@pytest.mark.parametrize(
    "hostile",
    [
        "__import__('os').system('true')",
        "member.__class__",
        "'%1000000000d' % 1",
        "9 ** 9 ** 9 ** 9",
        "'a' * 1000000000",
        "(lambda: 1)()",
        "[1 for x in tool]",
        "open('/etc/passwd')",
        "(" * 300 + "1" + ")" * 300,
        "count <",
        "f'{member}'",
    ],
)
def test_hostile_expressions_are_faults_of_their_entry(domains: Path, tmp_path: Path, carg: Carg, hostile: str) -> None:
    """None is executed; each is named with file and entry."""
    assert "count < most_loans" in TEXT
    write_domain(domains, "tool_library", TEXT.replace('"count < most_loans"', orjson.dumps(hostile).decode()))

    assert_told(carg(*EXPAND, "--run", tmp_path / "run"), "tool_library.toml", "[actions.lend.require")


def test_a_world_with_faults_is_reported_and_fails(tmp_path: Path, carg: Carg) -> None:
    """The report ends with its verdict; exit 1 with the number of faults."""
    path = tmp_path / "tools.toml"
    path.write_text(TEXT.replace("pace = 0.08", "pace = 8"))

    code, out, err = carg("domains", "check", "--workers", 1, path)

    assert code == 1
    assert f"{path}: NOT SOUND; 1 faults, 0 warnings" in out
    assert "error: 1 faults in 1 files" in err


def test_an_unknown_domain_is_told_with_the_nearest(domains: Path, tmp_path: Path, carg: Carg) -> None:
    """Expand, show and check alike."""
    for words in (
        (*EXPAND, "--run", tmp_path / "run", "-d", "tool_libary"),
        ("domains", "show", "tool_libary"),
        ("domains", "check", "tool_libary"),
    ):
        assert_told(carg(*words), "'tool_libary' is unknown", "did you mean 'tool_library'?")


def test_domains_without_a_world_need_a_model(domains: Path, tmp_path: Path, carg: Carg) -> None:
    """Which is told."""
    write_domain(domains, "plain", TEXT.partition("kind =")[0])

    assert_told(carg(*EXPAND, "--run", tmp_path / "run", "-d", "plain"), "has a world", "--backend MODEL")


def test_more_tools_than_the_worlds_hold_are_told_with_their_number(domains: Path, tmp_path: Path, carg: Carg) -> None:
    """And the mended command is not held to what was asked for first."""
    run = tmp_path / "run"
    ended = carg(*EXPAND, "--run", run, "--tools", 9999)
    (held,) = re.findall(r"ask for (\d+) or fewer", ended[2])

    assert_told(ended, "9999 tools were asked for", f"hold {held}")
    assert carg("--quiet", *EXPAND, "--run", run, "--tools", held)[0] == 0
    assert read_manifest(run / "expand", "expand")["counts"]["tools"] == int(held)


def test_a_domain_file_that_changed_since_the_run_is_told(run: Path, domains: Path) -> None:
    """By expand, and by who executes it where the run has no copy; --fresh begins anew with the file as it is."""
    path = domains / "culture" / "tool_library.toml"
    path.write_text(path.read_text().replace("A tool lent to a member.", "A tool that a member took home."))
    code = "import sys\nfrom carg.cli import main\nsys.argv = ['carg', *sys.argv[1:]]\nmain()"
    ended = in_process(code, *EXPAND, "--run", run)
    assert_told((ended.returncode, ended.stdout, ended.stderr), "worlds.tool_library")
    assert in_process(code, "simulate", "--run", run).returncode == 0
    shutil.rmtree(run / "expand" / "domains")
    ended = in_process(code, "simulate", "--run", run)
    assert_told((ended.returncode, ended.stdout, ended.stderr), "has changed since the run")
    ended = in_process(code, *EXPAND, "--run", run, "--fresh")

    assert ended.returncode == 0
    assert (run / "expand.1" / "expand.manifest.json").exists()


# Stages -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (GENERATE, "run `carg expand`"),
        (FILTER, "run `carg generate`"),
        (("finetune", "--init", "tiny"), "carg filter"),
        (("simulate",), "run `carg expand`"),
        (("stats", "leaks"), "run `carg generate`"),
        (("stats", "tools"), "run `carg expand`"),
        (("stats", "teacher"), "--backend MODEL"),
        (("status",), "carg expand --run"),
    ],
)
def test_a_stage_before_its_time_names_the_one_to_run_first(
    domains: Path, tmp_path: Path, carg: Carg, words: tuple[object, ...], told: str
) -> None:
    """Generate before expand, filter before generate, and so on."""
    assert_told(carg(*words, "--run", tmp_path / "none"), told)


def test_changed_settings_are_named_and_fresh_keeps_the_old(run: Path, carg: Carg) -> None:
    """What was made stays as it is until --fresh, which sets it aside."""
    before = files_of(run)

    assert_told(carg("expand", "--instances", 2, "--seed", 5, "--run", run), "instances: 3 -> 2", "seed: 0 -> 5")
    assert_told(carg(*GENERATE, "--exchanges", 40, "--run", run), "exchanges: 90 -> 40", "--fresh")
    assert files_of(run) == before
    assert carg("--quiet", *GENERATE, "--exchanges", 40, "--run", run, "--fresh")[0] == 0
    aside = {f"generate/{name}": data for name, data in files_of(run / "generate.1").items()}
    assert aside == {name: data for name, data in before.items() if name.startswith("generate/")}


def test_a_dataset_of_other_sessions_is_not_overwritten(run: Path, carg: Carg) -> None:
    """It is told; --fresh sets it aside."""
    before = files_of(run / "dataset")
    carg("--quiet", *GENERATE, "--exchanges", 40, "--run", run, "--fresh")

    assert_told(carg(*FILTER, "--run", run), "dataset holds other rows", "--fresh")
    assert files_of(run / "dataset") == before
    assert carg("--quiet", *FILTER, "--run", run, "--fresh")[0] == 0
    assert files_of(run / "dataset.1") == before


def test_a_second_command_on_the_same_folder_is_told_to_come_later(run: Path, carg: Carg, tmp_path: Path) -> None:
    """Exit 75, for every command that writes; those that only read go on."""
    tools = tmp_path / "tools.json"
    tools.write_bytes(orjson.dumps([{"type": "function", "function": {"name": "ping", "parameters": {}}}]))
    with locked(run):
        for words in (EXPAND, GENERATE, FILTER, ("import", tools)):
            assert_told(carg(*words, "--run", run), "another run is at work", code=75)
        assert carg("status", "--run", run)[0] == 0
        assert carg("simulate", "--run", run)[0] == 0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("generate/sessions-00001.jsonl", (*FILTER, "--fresh")),
        ("generate/openings-00000.jsonl", (*FILTER, "--fresh")),
        ("expand/instances-00000.jsonl", ("simulate",)),
        ("expand/tools-00000.jsonl", ("stats", "tools")),
        ("generate/sessions-00000.jsonl", ("stats", "leaks")),
    ],
)
@pytest.mark.parametrize("spoil", [b'{"id": "x"', b"", b'{"nosuch": 1}', b"\xff\xfe\x00", b"[1]"])
def test_a_corrupted_part_is_told_by_file_and_line(
    run: Path, carg: Carg, name: str, words: tuple[object, ...], spoil: bytes
) -> None:
    """Torn, empty, of other fields, of other bytes, of another kind."""
    path = run / name
    lines = path.read_bytes().splitlines()
    lines[1] = spoil
    path.write_bytes(b"\n".join(lines) + b"\n")

    assert_told(carg(*words, "--run", run), f"{path}, line 2")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"counts": 3, "digest": "x"}', '{"counts": {}}', "\0"])
@pytest.mark.parametrize(("stage", "words"), [("expand", EXPAND), ("expand", GENERATE), ("generate", FILTER)])
def test_a_manifest_of_something_else_is_told(
    run: Path, carg: Carg, stage: str, words: tuple[object, ...], text: str
) -> None:
    """A foreign folder is neither used nor overwritten."""
    path = run / stage / f"{stage}.manifest.json"
    path.write_text(text)
    before = files_of(run)

    assert_told(carg(*words, "--run", run), str(path), "--fresh")
    assert files_of(run) == before


def test_a_run_that_is_no_folder_is_told(domains: Path, tmp_path: Path, carg: Carg) -> None:
    """A file where the folder should be, or on the way to it."""
    (tmp_path / "file").write_text("precious")

    assert_told(carg(*EXPAND, "--run", tmp_path / "file"), f"{tmp_path / 'file'}")
    assert_told(carg(*EXPAND, "--run", tmp_path / "file" / "run"), "Not a directory")
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_run_without_the_right_to_write_is_told(run: Path, carg: Carg) -> None:
    """With whose right is missing."""
    run.chmod(0o500)
    ended = carg(*EXPAND, "--run", run, "--fresh")
    run.chmod(0o700)

    assert_told(ended, "Permission denied")


# Disk and signals ---------------------------------------------------------------------------------------------------


class FullDisk:
    """os.fsync of a disk that is full after so many files."""

    def __init__(self, n_files: int, sync: Callable[[int], None]) -> None:
        self.left, self.sync = n_files, sync

    def __call__(self, fd: int) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.sync(fd)


@pytest.mark.parametrize("stage", ["generate", "filter"])
@pytest.mark.parametrize("n_files", [0, 1, 3, 6])
def test_a_full_disk_loses_nothing(
    run: Path, carg: Carg, monkeypatch: pytest.MonkeyPatch, stage: str, n_files: int
) -> None:
    """Wherever it strikes; with space again, the same command makes what an undisturbed one made."""
    words = {"generate": GENERATE, "filter": FILTER}[stage]
    whole = {name: read_manifest(run / name if name == "generate" else run, name)["digest"] for name in (stage,)}
    for manifest in run.rglob(f"{stage}.manifest.json"):
        manifest.unlink()
    for part in run.glob("generate/[so]*-*.jsonl") if stage == "generate" else ():
        part.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", FullDisk(n_files, os.fsync))
        ended = carg("--quiet", *words, "--run", run)
    again = carg("--quiet", *words, "--run", run)

    if ended[0]:
        assert_told(ended, "No space left on device", "free some space")
    assert again[0] == 0
    assert read_manifest(run / stage if stage == "generate" else run, stage)["digest"] == whole[stage]


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_small_disk_stops_every_stage_plainly(domains: Path, tmp_path: Path, carg: Carg) -> None:
    """A real file system of few bytes: generate, filter and finetune fail in two lines, and go on with more."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def mount(size_kb: int, how: str) -> bool:
        options = f"{how}size={size_kb}k"
        return not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], capture_output=True
        ).returncode

    def used_kb() -> int:
        about = os.statvfs(disk)
        return (about.f_blocks - about.f_bfree) * about.f_frsize // 1024

    if not mount(4000, ""):
        pytest.skip("mounting is not allowed here")
    try:
        assert carg("--quiet", *EXPAND, "--run", disk / "run")[0] == 0
        for words, room in (
            (("generate", "--exchanges", 300, "--workers", 1), 100),
            (FILTER, 40),
            (("finetune", "--init", "tiny", "--steps", 1), 300),
            (("finetune", "--init", "tiny", "--steps", 1), 3000),
        ):
            assert mount(used_kb() + room, "remount,")
            ended = carg("--quiet", *words, "--run", disk / "run")
            assert_told(ended, "No space left on device", "free some space")
            assert mount(400_000, "remount,")
            if words[0] != "finetune":
                assert carg("--quiet", *words, "--run", disk / "run")[0] == 0
    finally:
        subprocess.run(["umount", disk], check=True)


def test_ctrl_c_is_exit_130_and_the_rest_is_made_later(run: Path, carg: Carg) -> None:
    """After the first part of sessions, which is kept."""
    whole = read_manifest(run / "generate", "generate")["digest"]
    for path in (run / "generate").iterdir():
        path.unlink()
    code = (
        "import contextlib, signal, sys\nfrom carg import cli\n"
        "@contextlib.contextmanager\n"
        "def progress(*_given): yield lambda _n: signal.raise_signal(signal.SIGINT)\n"
        "cli.Screen.progress = progress\nsys.argv = ['carg', *sys.argv[1:]]\ncli.main()"
    )
    ended = in_process(code, *GENERATE, "--run", run)

    assert (ended.returncode, ended.stdout) == (130, "")
    assert ended.stderr.strip() == "interrupted; the same command goes on where it stopped"
    assert (run / "generate" / "sessions-00000.jsonl").exists()
    assert not (run / "generate" / "sessions-00001.jsonl").exists()
    assert carg("--quiet", *GENERATE, "--run", run)[0] == 0
    assert read_manifest(run / "generate", "generate")["digest"] == whole


# Models -------------------------------------------------------------------------------------------------------------


def by_model(server: Loopback) -> tuple[object, ...]:
    return ("generate", "--exchanges", 30, "--workers", 1, "--fresh", "--backend", "m", "--api-base", server.url)


def test_ctrl_c_while_a_model_answers_pays_nothing_twice(server: Loopback, run: Path, carg: Carg) -> None:
    """Exit 130; the replies that came are journalled, and the same command asks for the rest."""
    answer = server.answer

    def interrupt(messages: list[Any]) -> Any:
        if server.n_paid == 8:
            os.kill(os.getpid(), signal.SIGINT)
        return answer(messages)

    server.answer = interrupt
    words = [word for word in by_model(server) if word != "--fresh"]
    (run / "generate").rename(run / "generate.9")
    code, _, err = carg("--quiet", *words, "--width", 2, "--run", run)
    server.answer = answer

    assert (code, err.strip()) == (130, "interrupted; the same command goes on where it stopped")
    assert carg("--quiet", *words, "--width", 2, "--max-failed", 1, "--run", run)[0] == 0
    assert sum(count - 1 for count in server.paid.values()) <= 2


def test_a_wrong_key_is_one_error(server: Loopback, run: Path, carg: Carg, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told once, with the name of the variable and without the key; the old sessions are set aside, not lost."""
    server.key = KEY
    monkeypatch.setenv("CARG_API_KEY", "sk-wrong-9876543210")

    ended = carg("--quiet", *by_model(server), "--run", run)

    assert_told(ended, "401", "key")
    assert "sk-wrong-9876543210" not in ended[2]
    assert (run / "generate.1" / "generate.manifest.json").exists()


def test_a_model_that_answers_nonsense_for_ever_ends(server: Loopback, run: Path, carg: Carg) -> None:
    """Failures are data: each stage ends, the filter says why nothing is left, and training says that nothing is."""
    server.shares = {"nonsense": 1.0}

    assert carg("--quiet", *by_model(server), "--run", run)[0] == 0
    slots = read_manifest(run / "generate", "generate")["slots"]
    code, out, _ = carg("--quiet", "--json", *FILTER, "--fresh", "--run", run)
    counts = orjson.loads(out)["counts"]

    assert slots["requested"] == slots["accepted"] + slots["rejected"] + slots["failed"]
    assert (code, counts.get("exchanges/kept", 0), counts["exchanges/dropped"]) == (0, 0, counts["exchanges/read"])
    assert_told(carg("--quiet", "finetune", "--run", run, "--init", "tiny"), "train")


def test_no_model_where_one_is_needed_is_told(domains: Path, tmp_path: Path, carg: Carg) -> None:
    """How many tools, which model; and a command that was mended is not held to what failed."""
    run = tmp_path / "run"

    assert_told(carg("expand", "--run", run, "--backend", "openai/x"), "how many tools", "--tools N")
    assert_told(carg("expand", "--run", run, "--tools", 3, "--backend", "replay:nosuch"), "nosuch")
    assert_told(carg("expand", "--run", run, "--tools", 3, "--backend", "a=0.7,b=0.7"), "do not make 1")
    assert carg("--quiet", *EXPAND, "--run", run)[0] == 0


def test_tools_of_others_have_no_world(domains: Path, tmp_path: Path, carg: Carg) -> None:
    """Calls can be made for them; answers, and a dataset, need a model."""
    tools = tmp_path / "tools.json"
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    function = {"name": "get_weather", "description": "Weather of a city by name.", "parameters": schema}
    tools.write_bytes(orjson.dumps([{"type": "function", "function": function}]))
    run = tmp_path / "run"

    assert carg("--quiet", "import", tools, "--run", run)[0] == 0
    assert_told(carg("simulate", "--run", run), "no world stands behind", "--backend stand-in")
    call = orjson.dumps({"tool": "get_weather", "arguments": {"city": "Oslo"}}).decode()
    assert_told(carg("simulate", "--run", run, "--backend", "world", call), "no world stands behind", "--backend")
    assert carg("--quiet", "generate", "--exchanges", 8, "--run", run)[0] == 0
    assert_told(carg(*FILTER, "--run", run), "calls without answers", "--backend")


def test_training_without_its_extra_is_told(run: Path, carg: Carg, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any work, with what to install; a trained model cannot be asked either."""
    (run / "model").mkdir()
    (run / "model" / "config.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith("carg.gtm.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("carg.gtm.decode", raising=False)

    for words in (
        ("finetune", "--run", run, "--init", "tiny"),
        ("--quiet", "demo", "--run", run),
        ("simulate", "--run", run, "--backend", f"gtm:{run}/model"),
    ):
        assert_told(carg(*words), "torch", "pip install 'carg[train]'")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--tool", "lent"), "no tool 'lent'"),
        (("--tool", "get_membre"), "did you mean 'get_member'"),
        (("--service", "countr"), "did you mean 'counter'"),
        (("--service", "counter", "--tool", "scrap"), "no tool 'scrap' in 'counter'"),
        (("--backend", "gtm:nosuch"), "no such folder"),
        (('{"tool": "fly", "arguments": {}}',), "no tool 'fly' is shown here"),
        (('{"tool": "get_member", "arguments": [1]}',), "no JSON object"),
    ],
)
def test_what_a_run_does_not_have_is_told(run: Path, carg: Carg, words: tuple[str, ...], told: str) -> None:
    """Tools, services, backends of simulate; with the nearest, or with what there is."""
    assert_told(carg("simulate", "--run", run, *words), told)


# Usage --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        "nosuch",
        "expand --nosuch",
        "expand --tools 0",
        "expand --tools many",
        "generate --exchanges -3",
        "generate --max-failed 2",
        "filter --workers 0",
        "finetune --init huge",
        "import",
        "import nosuch.json",
        "run",
        "plan",
        "demo --minutes 0",
        "generate --timeout 0",
        "generate --max-cost -1",
        "generate --max-minutes nan",
        "expand --max-tokens 0",
        "evaluate --max-cost inf",
        "domains show",
        "domains check --services 0",
        "domains draft Falconry",
        "simulate one two",
    ],
)
def test_wrong_usage_is_exit_2(carg: Carg, words: str) -> None:
    """What is wrong and who tells more, in two lines on stderr."""
    code, out, err = carg(*words.split())

    assert (code, out) == (2, "")
    error, mend = err.splitlines()
    assert error.startswith("error: carg")
    assert mend.startswith("mend: carg") and "--help" in mend


def test_results_for_programs_are_one_json_value(run: Path, carg: Carg) -> None:
    """Every command that shows something, with --json."""
    for words in (
        (*EXPAND, "--run", run),
        (*GENERATE, "--run", run),
        (*FILTER, "--run", run),
        ("status", "--run", run),
        ("simulate", "--run", run),
        ("stats", "tools", "--run", run),
        ("stats", "leaks", "--run", run),
        ("stats", "realism", "--run", run, "--real", run),
        ("domains", "list"),
        ("domains", "show", "tool_library"),
    ):
        code, out, _ = carg("--quiet", "--json", *words)
        assert (code, bool(orjson.loads(out))) == (0, True), words


# Help ---------------------------------------------------------------------------------------------------------------


def commands(group: click.Group, name: str) -> Iterator[tuple[str, click.Command]]:
    """Every command below a group, and the group, by the words that call it."""
    yield name, group
    for word, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} {word}")
        else:
            yield f"{name} {word}", command


COMMANDS = dict(commands(cli.cli, "carg"))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_as_it_was(name: str) -> None:
    """Golden files; CARG_WRITE_GOLDEN=1 writes them anew."""
    path = ROOT / "tests" / "golden" / "help" / f"{name.replace(' ', '-')}.txt"
    command = COMMANDS[name]
    text = click.Context(command, info_name=name, terminal_width=100, **cli.CONTEXT).get_help() + "\n"
    if os.environ.get("CARG_WRITE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    assert text == path.read_text()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_everything(name: str) -> None:
    """Each command what it does, with an example of itself; each option what it is for."""
    command = COMMANDS[name]
    said = command.help or ""

    assert said.strip().partition("\n")[0].rstrip().endswith((".", ":", "syntax"))
    assert isinstance(command, click.Group) or f"Example: {name} " in said or f"Example: {name.split()[0]} --" in said
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, option.name
            assert option.help.rstrip("]")[-1] in ".)", (option.name, option.help)


def test_examples_of_help_can_be_parsed() -> None:
    """Their options exist, and their values fit."""
    for name, command in COMMANDS.items():
        for line in re.findall(r"Example: carg (.*)", command.help or ""):
            words = [word.strip('"') for word in re.findall(r'"[^"]*"|\S+', line) if word != "--json"]
            own = words[len(name.split()) - 1 :]
            own = [str(ROOT / "pyproject.toml") if word.endswith(".json") else word for word in own]
            command.make_context(name, own, **cli.CONTEXT)


def test_the_readme_names_every_command() -> None:
    """As it is called."""
    readme = (ROOT / "README.md").read_text()
    missing = [
        name for name, command in COMMANDS.items() if name not in readme and not isinstance(command, click.Group)
    ]

    assert missing == []
