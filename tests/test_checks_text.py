"""The words that a tool may and may not say."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scenes import REFEREES, alter, play

from carg.checks import judge_scene, read_scene
from carg.checks.text import passes_luhn
from carg.records import Directive, Violation

SCENE = play(("get_book", {"id": "B-100"}), kind="single")
LATER = ("answer_reads", "echo")
"""What changing the text alone upsets; not what is tested here."""


def complain(text: str, *, directive: Directive | None = None) -> set[str]:
    """The reason codes for an answer of this text."""
    scene = alter(SCENE, 0, lambda item: replace(item, response=replace(item.response, text=text), directive=directive))
    return {item.check for item in judge_scene(read_scene(scene, REFEREES))} - {*LATER}


SPOILED = {
    "placeholders": [
        "lorem ipsum dolor",
        "see https://example.com/placeholder",
        "Placeholder text",
        "TODO: fill in",
        "price TBD",
        "Dear {{first_name}},",
        "<your name>",
        "<INSERT-NAME>",
        "[Your Company]",
        "in foo/bar",
    ],
    "template_tokens": [
        "ok<|im_end|>",
        "<|eot_id|>",
        "</s>",
        "[INST] go",
        "<<SYS>>",
        "<end_of_turn>",
        "<think>",
        "```json",
    ],
    "refusals": [
        "As an AI, no",
        "as a language model",
        "I'm sorry, no",
        "I am unable to",
        "I cannot do that",
        "I can't",
        "I don't have access",
    ],
    "secrets": [
        "key AKIAIOSFODNN7EXAMPLE",
        "ghp_" + "a1" * 18,
        "sk-" + "Ab3" * 8,
        "xoxb-1234567890",
        "eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.sig",
        "-----BEGIN RSA PRIVATE KEY",
        "sk_live_" + "x" * 16,
        "4242424242424242",
        "card 5555 5555 5555 4444.",
        "378282246310005",
    ],
    "text_sane": ["a\x00b", "bell\x07", "caf\ufffd", "\\u0000", "Ã©clair", "donâ€™t", "naÃ¯ve", "Â£3"],
    "truncated": ['{"a": [1, 2', '{"a": "b', "[[1]", "and so on...", "and so on…", "the list [truncated]"],
}
SOUND = [
    "A plain sentence.",
    '{"a": [1, "]{", "x"]}',
    '{"note": "say \\"hi\\" {"}',
    "Todo el mundo; a to-do list",
    "AI in cafés; the assistant cook said I can wait",
    "<item><s2>3</s2></item>",
    "Ãgua, naïve, João, São Paulo, âge, 20 °C, £3",
    "4242 4242 4242 4243",
    "order 14242424242424242, ref A4242424242424242",
    "1700000000000 and 4111111111111",
    "desk-lamp, task-list, sk-short",
    "0.4242424242424242",
    "line one\nline two\ttabbed",
    "Wait ... then go on",
]


@pytest.mark.parametrize(("check", "text"), [(check, text) for check, texts in SPOILED.items() for text in texts])
def test_spoiled_words_are_found(check: str, text: str) -> None:
    """Each kind of spoiled text gets its own reason code and no other."""
    assert complain(text) == {check}


@pytest.mark.parametrize("text", SOUND)
def test_sound_words_are_left_alone(text: str) -> None:
    """Texts that come near to a spoiled one pass."""
    assert complain(text) == set()


def test_a_directive_may_cut_the_text() -> None:
    """An answer that was to be truncated may end anywhere."""
    assert complain('{"a": [1, 2', directive=Directive("truncated", {}, 1)) == set()


def test_a_fence_around_a_call_is_a_fault_unless_it_makes_the_call_unparsable() -> None:
    """Malformed calls may be fenced ones; other marks of a template are not let through there either."""

    def found(text: str, *violates: Violation) -> bool:
        scene = alter(SCENE, 0, lambda item: replace(item, call=replace(item.call, text=text, violates=violates)))
        return "template_tokens" in {item.check for item in judge_scene(read_scene(scene, REFEREES))}

    unparsable = Violation("malformed_call", "call.unparsable")
    assert found('```\n{"tool": "get_book"}\n```')
    assert found('```\n{"tool": "get_book"}\n```', Violation("missing", "schema.missing"))
    assert not found('```\n{"tool": "get_book"}\n```', unparsable)
    assert found('{"tool": "get_book"<|im_end|>', unparsable)


def test_luhn() -> None:
    """The check digit of ISO/IEC 7812-1, on its own example and with two digits swapped."""
    assert passes_luhn("79927398713")
    assert not passes_luhn("79927398731")
