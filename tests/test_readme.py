"""README.md says what is so: its tree, commands and checks are those of the code."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_the_generated_parts_are_current():
    """`python docs/readme_parts.py` would change nothing."""
    spec = importlib.util.spec_from_file_location("readme_parts", ROOT / "docs" / "readme_parts.py")
    parts = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(parts)
    text = (ROOT / "README.md").read_text()

    assert parts.renewed(text) == text
