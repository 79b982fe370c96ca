"""carg.prompts: files are checked when read, rendering is strict, and what is sent is pinned by golden files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from carg.errors import PromptError
from carg.prompts import Prompt, load_prompt, prompt_folder, prompt_names, read_prompt, render_prompt

GOLDEN = Path(__file__).parent / "golden" / "prompts"
SAMPLE = """+++
version = 1
about = "A sample."
variables = ["thing", "n"]
reply = '{"type": "object"}'
+++
# System
You count {{thing}}.
# User
Write {{ n }} of {{thing}}.
"""


def sample() -> Prompt:
    return read_prompt("sample", SAMPLE, where="sample.md")


def test_values_are_put_in_and_the_schema_follows() -> None:
    """Text goes in as it is, other values as JSON; the schema ends the system text."""
    messages = render_prompt(sample(), {"thing": "bees", "n": [1, "a"]})

    assert messages == (
        {
            "role": "system",
            "content": "You count bees.\n\nAnswer with JSON only, no text around it, fitting this JSON Schema:\n"
            '{"type":"object"}',
        },
        {"role": "user", "content": 'Write [1,"a"] of bees.'},
    )


@pytest.mark.parametrize(
    ("variables", "words"),
    [({"thing": "x"}, r"missing \['n'\]"), ({"thing": "x", "n": 1, "more": 2}, r"not used \['more'\]")],
)
def test_missing_and_unused_variables_are_refused(variables: dict[str, object], words: str) -> None:
    """A prompt takes exactly its variables."""
    with pytest.raises(PromptError, match=words):
        render_prompt(sample(), variables)


@given(st.text())
def test_a_value_is_never_read_as_a_template(value: str) -> None:
    """Whatever a value holds, slots and formats included, it arrives unchanged."""
    spiked = value + "{{n}} {thing} %s \\1 ${x}"

    assert render_prompt(sample(), {"thing": "x", "n": spiked})[1]["content"] == f"Write {spiked} of x."


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("+++\nversion", "version", "not a prompt"),
        ("# User", "# Users", "not a prompt"),
        ("version = 1", "version = ", "front matter"),
        ("version = 1", 'version = "1"', r"wrong or missing \['version'\]"),
        ("version = 1", "version = 1\nextra = 2", r"unknown \['extra'\]"),
        ('"thing", "n"', '"thing"', r"used but not declared: \['n'\]"),
        ('"thing", "n"', '"thing", "n", "m"', r"declared but not used: \['m'\]"),
        ("Write {{ n }}", "Write {{ n }} {{Bad-Name}}", "that is no"),
        ('\'{"type": "object"}\'', "'{'", "reply"),
        ('\'{"type": "object"}\'', "'[]'", "no object"),
    ],
)
def test_a_malformed_file_is_named_with_its_fault(old: str, new: str, words: str) -> None:
    """Every way to spoil a prompt file is a PromptError that names file and fault."""
    assert old in SAMPLE
    with pytest.raises(PromptError, match=words) as caught:
        read_prompt("sample", SAMPLE.replace(old, new, 1), where="sample.md")

    assert "sample.md" in caught.value.message
    assert caught.value.hint


def test_every_character_changes_the_digest() -> None:
    """A changed prompt never meets the cached answers of the old one."""
    assert sample().digest != read_prompt("sample", SAMPLE + "!", where="sample.md").digest


def test_an_unknown_prompt_lists_those_there_are() -> None:
    """The error of a wrong name is mended by reading it."""
    with pytest.raises(PromptError) as caught:
        load_prompt("nothing")

    assert "respond" in caught.value.hint


@pytest.mark.parametrize("name", prompt_names())
def test_prompt_files_are_sound_and_as_pinned(name: str) -> None:
    """Each file loads, its reply is a sound closed schema, README lists it, and its rendering equals the golden one."""
    prompt = load_prompt(name)
    Draft202012Validator.check_schema(prompt.reply)
    assert prompt.reply["additionalProperties"] is False
    assert f"({name}.md)" in (prompt_folder() / "README.md").read_text()

    system, user = render_prompt(prompt, {variable: f"<{variable}>" for variable in prompt.variables})
    text = f"{system['content']}\n\n=== user ===\n\n{user['content']}\n"
    golden = GOLDEN / f"{name}.txt"
    if os.environ.get("CARG_GOLDEN") == "write":
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(text)

    assert golden.read_text() == text
