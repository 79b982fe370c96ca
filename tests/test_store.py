"""carg.store: files are whole or absent, journals lose nothing, a broken record is named by file and line."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carg import store
from carg.errors import ConfigError, StoreError, TryLater
from carg.journal import SYNC_EVERY_RECORDS, Journal
from carg.records import Op


def ops(n: int) -> list[Op]:
    return [Op("hives", f"h{number}", {"name": "ü", "n": number}) for number in range(n)]


def test_records_come_back_in_order(tmp_path: Path) -> None:
    """write_records counts, read_records rebuilds the same records."""
    path = tmp_path / "deep" / "a.jsonl"

    assert store.write_records(path, ops(3)) == 3
    assert list(store.read_records(Op, path)) == ops(3)
    assert [item.name for item in path.parent.iterdir()] == ["a.jsonl"]


def test_parts_are_read_by_number(tmp_path: Path) -> None:
    """Parts come in the order of their numbers, also past five digits; other stems stay out."""
    for number in (100000, 2, 10):
        store.write_part(tmp_path, "op", number, [Op("t", str(number), None)])
    store.write_part(tmp_path, "op-more", 1, ops(1))

    assert [op.id for op in store.read_parts(Op, tmp_path, "op")] == ["2", "10", "100000"]


@pytest.mark.parametrize("line", [b'{"table": "x"', b'{"table": "x"}', b'{"table":"x","id":"1","record":{},"more":1}'])
def test_a_broken_record_is_named_by_file_and_line(tmp_path: Path, line: bytes) -> None:
    """Torn JSON, missing and unknown fields each name the line."""
    path = tmp_path / "a.jsonl"
    store.write_records(path, ops(2))
    path.write_bytes(path.read_bytes() + line + b"\n")

    with pytest.raises(StoreError, match=r"a\.jsonl, line 3"):
        list(store.read_records(Op, path))


def test_a_failing_writer_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    """When the records end in an error, the file keeps what it held and no temporary file stays."""
    path = tmp_path / "a.jsonl"
    store.write_records(path, ops(2))

    def spoiled() -> object:
        yield ops(1)[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.write_records(path, spoiled())  # type: ignore[arg-type]

    assert list(store.read_records(Op, path)) == ops(2)
    assert [item.name for item in tmp_path.iterdir()] == ["a.jsonl"]


def test_a_full_disk_is_a_store_error_with_a_hint() -> None:
    """/dev/full answers as a full disk does."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    journal = Journal.__new__(Journal)
    journal.path = Path("/dev/full")
    journal._fd, journal._end, journal._unsynced, journal._synced_at = os.open("/dev/full", os.O_WRONLY), 0, 0, 0.0

    with pytest.raises(StoreError) as caught:
        journal.append({"a": 1})
    os.close(journal._fd)

    assert "disk is full" in caught.value.hint


def test_appending_does_not_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one sync is under way others are not begun; closing waits, and syncs what came since."""
    go, synced = threading.Event(), []

    def slow(fd: int) -> None:
        go.wait(10)
        synced.append(os.fstat(fd).st_size)

    monkeypatch.setattr(store.os, "fdatasync", slow)
    with Journal(tmp_path / "j.jsonl") as journal:
        for number in range(3 * SYNC_EVERY_RECORDS):
            journal.append({"n": number})
        assert synced == []
        go.set()

    assert len(synced) == 2
    assert synced[-1] == (tmp_path / "j.jsonl").stat().st_size


def test_a_sync_that_fails_is_told_by_the_next_append(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it failed aside: what cannot be kept must not be paid for."""

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(store.os, "fdatasync", fail)
    journal = Journal(tmp_path / "j.jsonl")
    with pytest.raises(StoreError, match="append"):
        for number in range(100_000):
            journal.append({"n": number})
    journal._disk.shutdown()
    os.close(journal._fd)


def test_a_journal_over_a_limit_keeps_all_that_was_there(tmp_path: Path) -> None:
    """A write that the system cuts short (here by a file size limit) leaves only whole lines behind."""
    journal = Journal(tmp_path / "j.jsonl")
    for number in range(3):
        journal.append({"n": number})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60, hard))
    try:
        with pytest.raises(StoreError, match="append"):
            journal.append({"n": "x" * 100})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)

    assert (tmp_path / "j.jsonl").read_bytes() == b'{"n":0}\n{"n":1}\n{"n":2}\n'
    journal.append({"n": 3})
    assert [entry["n"] for entry in journal.entries()] == [0, 1, 2, 3]
    journal.close()


def test_no_right_to_write_is_a_store_error(tmp_path: Path) -> None:
    """A path through a file is named, with what to do."""
    (tmp_path / "file").write_text("x")

    with pytest.raises(StoreError, match="file"):
        store.write_records(tmp_path / "file" / "a.jsonl", ops(1))
    with pytest.raises(StoreError, match="file"):
        Journal(tmp_path / "file" / "j.jsonl")


@given(
    entries=st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=50), max_size=3), max_size=8),
    tail=st.binary(max_size=40).filter(lambda tail: b"\n" not in tail),
)
def test_opening_cuts_a_torn_tail_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, entries: list[dict[str, str]], tail: bytes
) -> None:
    """Whatever a crash left after the last newline goes; every whole line stays, and appending goes on."""
    path = tmp_path_factory.mktemp("journal") / "j.jsonl"
    with Journal(path) as journal:
        for entry in entries:
            journal.append(entry)
    with path.open("ab") as file:
        file.write(tail)

    with Journal(path) as journal:
        assert list(journal.entries()) == entries
        offset = journal.append({"last": "1"})
        assert journal.at(offset) == {"last": "1"}
        assert [journal.at(at) for at, _ in journal.scan()] == [*entries, {"last": "1"}]


def test_a_long_entry_is_read_by_its_offset(tmp_path: Path) -> None:
    """An entry of many blocks, and a torn tail of many blocks."""
    with Journal(tmp_path / "j") as journal:
        journal.append({"n": 0})
        at = journal.append({"n": "y" * 200_000})
        assert journal.at(at)["n"] == "y" * 200_000
    with (tmp_path / "j").open("ab") as file:
        file.write(b"z" * 200_000)
    with Journal(tmp_path / "j") as journal:
        assert len(list(journal.entries())) == 2


def test_kill_9_loses_no_appended_entry(tmp_path: Path) -> None:
    """A process killed hard right after its appends leaves all of them."""
    code = (
        "import os,signal,sys; from pathlib import Path; from carg.journal import Journal\n"
        "j = Journal(Path(sys.argv[1]))\n"
        "for n in range(500): j.append({'n': n})\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "j")], check=False)

    assert done.returncode == -signal.SIGKILL
    with Journal(tmp_path / "j") as journal:
        assert [entry["n"] for entry in journal.entries()] == list(range(500))


def test_a_spoiled_line_in_the_middle_is_named(tmp_path: Path) -> None:
    """A journal is not silently shortened: a broken line before the last names file and line."""
    (tmp_path / "j").write_bytes(b'{"n":1}\n{"n":\n{"n":3}\n')

    with Journal(tmp_path / "j") as journal, pytest.raises(StoreError, match="line 2"):
        list(journal.entries())


def test_only_one_run_holds_the_lock(tmp_path: Path) -> None:
    """A second holder is told to come later; the lock falls with its holder."""
    with (
        store.locked(tmp_path / "run"),
        pytest.raises(TryLater, match="another run"),
        store.locked(tmp_path / "run"),
    ):
        pass
    with store.locked(tmp_path / "run"):
        pass


def test_a_stage_without_manifest_is_refused(tmp_path: Path) -> None:
    """read_manifest names the stage to run; after write_manifest it gives the content back."""
    with pytest.raises(StoreError, match="expand is not finished"):
        store.read_manifest(tmp_path, "expand")
    assert not store.is_done(tmp_path, "expand")

    store.write_manifest(tmp_path, "expand", {"tools": 7})

    assert store.read_manifest(tmp_path, "expand") == {"tools": 7}
    assert store.is_done(tmp_path, "expand")


def test_changed_settings_are_named(tmp_path: Path) -> None:
    """The same settings go on; a changed, a new and a missing field are each named; --fresh is offered."""
    store.check_fingerprint(tmp_path, "expand", {"seed": 1, "mix": {"valid": 0.4, "old": 1}})
    store.check_fingerprint(tmp_path, "expand", {"mix": {"old": 1, "valid": 0.4}, "seed": 1})

    with pytest.raises(ConfigError) as caught:
        store.check_fingerprint(tmp_path, "expand", {"seed": 1, "mix": {"valid": 0.5, "new": 1}})

    assert "mix.new: None -> 1; mix.old: 1 -> None; mix.valid: 0.4 -> 0.5" in caught.value.message
    assert "--fresh" in caught.value.hint


def test_old_folders_are_set_aside_under_numbers(tmp_path: Path) -> None:
    """Nothing is overwritten: each --fresh takes the next number."""
    assert store.set_aside(tmp_path / "run") is None
    for expected in ("run.1", "run.2"):
        (tmp_path / "run").mkdir()
        aside = store.set_aside(tmp_path / "run")
        assert aside is not None
        assert aside.name == expected


def test_the_run_digest_ignores_order_and_sees_every_id() -> None:
    """Order does not matter; an id, its heading and its count do."""
    base = store.run_digest({"tool": ["a", "b"], "row/train": ["c"]})

    assert base == store.run_digest({"row/train": iter(["c"]), "tool": ["b", "a"]})
    spoiled = [
        {"tool": ["a"], "row/train": ["c"]},
        {"tool": ["a", "b", "c"]},
        {"tool": ["a", "b", "b"], "row/train": ["c"]},
    ]
    assert base not in {store.run_digest(ids) for ids in spoiled}
