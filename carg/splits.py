"""Which split a row belongs to. Decided by digests alone, so that it never moves from run to run."""

from __future__ import annotations

from typing import Literal

from carg.records import digest

Split = Literal["train", "validation", "test_tools", "test_domains", "test_real"]

SPLITS: tuple[Split, ...] = ("train", "validation", "test_tools", "test_domains", "test_real")
"""Every split, in the order of cards and reports."""

TEST_TOOLS_PERCENT = 10
"""Of services outside the held-out domains, whole."""
VALIDATION_PERCENT = 5
"""Of rows of the services that are left."""


def split_of(*, domain: str, service: str, key: str, held_out: bool = False, imported: Split | None = None) -> Split:
    """The split of a row; `key` is what must stay together: the id of the row, or of the pair that it is part of.

    `imported` is the split that an import was given, for rows of real tools; it stands above all else.
    """
    if imported is not None:
        return imported
    if held_out:
        return "test_domains"
    if _percentile("test_tools", f"{domain}/{service}") < TEST_TOOLS_PERCENT:
        return "test_tools"
    return "validation" if _percentile("validation", key) < VALIDATION_PERCENT else "train"


def _percentile(*parts: str) -> int:
    return int(digest("split", *parts), 16) % 100
