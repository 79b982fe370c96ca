"""How a stage begins and ends: settings that may not change, a manifest written last, and what it says was made."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from carg.errors import StoreError, TooManyFailures
from carg.ledger import read_spent
from carg.records import Json
from carg.store import check_fingerprint, is_done, read_manifest, set_aside, unfinish, write_manifest


@dataclass(frozen=True, slots=True)
class Made:
    """What a stage made: counts worth showing, and the digest of its records."""

    stage: str
    counts: dict[str, int]
    digest: str
    again: bool = False
    """Whether it was there already."""
    slots: dict[str, int] = field(default_factory=dict)
    """Where a model was asked: slots requested, accepted, rejected, failed; and candidates."""


def check_failures(made: Made, max_failed: float) -> None:
    """Raises TooManyFailures when too large a share of a stage's slots failed, or their sum does not hold.

    Failures are data: the stage is whole and its records are sound, what is missing is told in its manifest.
    """
    if not made.slots:
        return
    requested, failed = made.slots["requested"], made.slots["failed"]
    if requested != made.slots["accepted"] + made.slots["rejected"] + failed:
        raise TooManyFailures(f"{made.stage}: the slots do not add up: {made.slots}", "report this, with slots.jsonl")
    if failed > max_failed * requested:
        raise TooManyFailures(
            f"{made.stage}: {failed} of {requested} slots failed, more than --max-failed {max_failed:g} allows",
            f"see why in {made.stage}/slots.jsonl; then --retry-failed tries them again, or raise --max-failed",
        )


def check_missing(made: Made) -> None:
    """Raises TooManyFailures when fewer tools were made than were asked for; those that are there are sound."""
    if missing := made.counts.get("missing"):
        raise TooManyFailures(
            f"{made.stage}: {missing:,} tools are missing after {made.slots['candidates']:,} candidates",
            f"see {made.stage}/refused-00000.jsonl; with --fresh: more --domains, another model, or fewer --tools",
        )


def find_made(folder: Path, stage: str, road: Any = None, *, source: str = "") -> Made | None:
    """What a finished stage made; None where work is left. `source` is the digest that it must have been made from."""
    if not is_done(folder, stage):
        return None
    found = read_made(folder, stage)
    made = Made(stage, found["counts"], found["digest"], again=True, slots=found.get("slots", {}))
    retried = road is not None and road.retry_failed and made.slots.get("failed")
    if retried or missing_parts(folder, found) or found.get("source", source) != source:
        unfinish(folder, stage)
        return None
    return made


def read_made(folder: Path, stage: str) -> dict[str, Any]:
    """The manifest of a stage. Raises StoreError where the stage is not finished, or it is of something else."""
    found = read_manifest(folder, stage)
    if isinstance(found.get("counts"), dict) and isinstance(found.get("digest"), str):
        return found
    raise StoreError(
        f"{folder / f'{stage}.manifest.json'}: not a manifest of carg {stage}",
        "choose another --run, or make the stage anew with --fresh: it sets aside what is there",
    )


def missing_parts(folder: Path, manifest: dict[str, Any]) -> list[str]:
    """Part files that were there when the stage was finished: a lost one is made again, never passed over."""
    return [name for name in manifest.get("parts", ()) if not (folder / name).exists()]


def finish_road(folder: Path, stage: str, told: Any, **more: Json) -> Made:
    """The manifest of a stage that a model was asked for: with its slots, and with what all its visits cost."""
    slots = asdict(told.slots)
    spent = [asdict(line) for line in read_spent(folder)]
    more |= {"slots": slots, "spent": spent, "asking": told.asking, "refused": told.refused, "unusable": told.unusable}
    more["trials"] = told.trials
    return replace(finish(folder, stage, told.records, told.digest, more), slots=slots)


def finish(folder: Path, stage: str, counts: dict[str, int], key: str, more: dict[str, Json] | None = None) -> Made:
    """What the stage made, once its manifest says so; `key` is the digest of its records."""
    made = sorted(path.name for path in folder.glob("*-[0-9]*.jsonl"))
    write_manifest(folder, stage, {"counts": counts, "digest": key, "parts": made, **(more or {})})
    return Made(stage, counts, key)


def prepare(run: Path, stage: str, settings: dict[str, Json], *, fresh: bool) -> Path:
    """The folder of the stage, with its settings; settings under which nothing was made yet bind nobody."""
    folder = run / stage
    if fresh:
        set_aside(folder)
    if not any(path.stat().st_size for path in folder.glob("*.jsonl")):
        (folder / f"{stage}.settings.json").unlink(missing_ok=True)
    check_fingerprint(folder, stage, settings)
    return folder
