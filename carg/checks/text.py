"""Checks of the words of a call and its answer: nothing that gives away a template, a model or a secret.

Beside each costly expression stand the hints: small texts, one of which every match holds. Looking for them is a
hundred times faster than searching, and nearly no text has one.
"""

from __future__ import annotations

import re

from carg.checks.check import check
from carg.checks.views import Turn, leaves

_PLACEHOLDER = re.compile(
    r"lorem ipsum|example\.com/placeholder|placeholder (?:text|value)|(?-i:\bTODO\b|\bTBD\b)|\{\{[^{}]{1,40}\}\}"
    r"|<(?:your|insert|enter|some|placeholder)[ _-][\w -]{1,40}>|\[(?:your|insert|placeholder)[ _][\w ]{1,40}\]"
    r"|\bfoo/bar\b",
    re.IGNORECASE,
)
_PLACEHOLDER_HINTS: tuple[str, ...] = ("lorem", "placeholder", "todo", "tbd", "{{", "foo/bar")
_PLACEHOLDER_HINTS += ("<your", "<insert", "<enter", "<some", "[your", "[insert")
_PLACEHOLDER_VALUES = frozenset({"string", "foo", "foobar", "foo/bar", "foo bar", "sample text", "your_api_key", "xxx"})
_TEMPLATE = re.compile(
    r"<\|[\w ]{2,30}\|>|</?s>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|</?think>|<｜[^｜]{2,30}｜>"
)
_TEMPLATE_HINTS: tuple[str, ...] = ("<|", "s>", "inst]", "_of_turn>", "think>", "<｜")
_FENCE = re.compile(r"\A\s*```")
_REFUSAL = re.compile(
    r"\bas an? (?:AI|language model|assistant)\b|\bI(?:'m| am) (?:sorry|unable|not able)\b"
    r"|\bI (?:cannot|can't|can not)\b|\bI do(?:n't| not) have (?:access|the ability|real)",
    re.IGNORECASE,
)
_REFUSAL_HINTS = ("as an", "as a ", "i'm ", "i am ", "i can", "i do")
_SECRET = re.compile(
    r"\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_\w{36}|\bgithub_pat_\w{22}|\bsk-[A-Za-z0-9_-]{20}|\bxox[abpr]-[\w-]{10}"
    r"|\bAIza[\w-]{35}|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.|-----BEGIN [A-Z ]*PRIVATE KEY|\b[sr]k_live_\w{16}"
)
_SECRET_HINTS: tuple[str, ...] = (
    "akia",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "sk-",
    "xox",
    "aiza",
    "eyj",
)
_SECRET_HINTS += ("-----begin", "k_live_")
_CARD = re.compile(r"[3-6]\d{3}([ -]?)\d{4,6}\1\d{4,5}(?:\1\d{4})?(?![\w-]|\.\d)")
_CARD_PREFIX = re.compile(r"(?:4\d|5[1-5]|60)\d{14}\Z|3[47]\d{13}\Z")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd\ud800-\udfff]|\\\\u00(?:0[0-8bcef]|1[0-9a-f]|7f)")
_MOJIBAKE = re.compile("Ã[\x80-\xbfƒ†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ¡-¿]|â€[\x80-\xbf™œ“”˜¦]|Â[\xa0-\xbf]|ï»¿|ï¿½")
_MOJIBAKE_HINTS = ("ã", "â", "ï")
_ENDS_CUT = re.compile(r"(?:\.\.\.|…|\[truncated\]|\(truncated\))\s*\Z")


@check(recorded=False)
def placeholders(turn: Turn) -> str | None:
    """No placeholders: lorem ipsum, TODO, <your name>, {{name}}, a value that is just "string" or "foo"."""
    if complaint := _search(_PLACEHOLDER, turn, "placeholder", _PLACEHOLDER_HINTS):
        return complaint
    if turn.exchange.truth == "code":  # In a table that a person wrote "string" may be the name of a type.
        return None
    for _, value in leaves(turn.exchange.response.body):
        if isinstance(value, str) and len(value) < 13 and value.lower() in _PLACEHOLDER_VALUES:
            return f"placeholder {value!r}"
    return None


@check()
def template_tokens(turn: Turn) -> str | None:
    """No marks of a chat template, no fence around the answer: <|im_end|>, [INST], <think>, ```."""
    call = turn.exchange.call
    spoiled = bool(call.violates) and call.violates[0].fault == "call.unparsable"  # A fence may be what spoils it.
    if _FENCE.match(turn.exchange.response.text) or (_FENCE.match(call.text) and not spoiled):
        return "template mark '```'"
    return _search(_TEMPLATE, turn, "template mark", _TEMPLATE_HINTS)


@check(recorded=False)
def refusals(turn: Turn) -> str | None:
    """The answer speaks as a tool, not as a model: no "As an AI", no "I cannot"."""
    text = turn.exchange.response.text
    found = _REFUSAL.search(text) if _hints(text, _REFUSAL_HINTS) else None
    return f"refusal {found.group()!r}" if found else None


@check()
def secrets(turn: Turn) -> str | None:
    """No keys, tokens or payment card numbers."""
    if complaint := _search(_SECRET, turn, "secret", _SECRET_HINTS):
        return complaint
    for text in (turn.exchange.response.text, turn.exchange.call.text):
        if any(_is_card(text, found) for found in _CARD.finditer(text)):
            return "a payment card number"
    return None


def _is_card(text: str, found: re.Match[str]) -> bool:
    before = text[found.start() - 1 : found.start()]
    digits = re.sub(r"\D", "", found.group())
    return (
        not (before.isalnum() or (before and before in "_.-"))
        and bool(_CARD_PREFIX.match(digits))
        and passes_luhn(digits)
    )


def passes_luhn(number: str) -> bool:
    """The digits end with their check digit (ISO/IEC 7812-1)."""
    digits = [int(letter) for letter in reversed(number) if letter.isdigit()]
    return sum(digits[::2] + [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]) % 10 == 0


@check()
def text_sane(turn: Turn) -> str | None:
    """No control characters and no text decoded with the wrong character set."""
    return _search(_CONTROL, turn, "control character") or _search(
        _MOJIBAKE, turn, "wrong character set", _MOJIBAKE_HINTS
    )


@check()
def truncated(turn: Turn) -> str | None:
    """The answer is whole: brackets closed, no dots at the end, unless a directive cuts it."""
    directive, text = turn.exchange.directive, turn.exchange.response.text
    if directive and directive.fault == "truncated":
        return None
    if text[:1] in "{[" and _is_open(text):
        return "the text ends within JSON"
    found = _ENDS_CUT.search(text, max(0, len(text) - 20))
    return f"the text ends with {found.group()!r}" if found else None


def _is_open(text: str) -> bool:
    """More brackets are opened than closed, outside of strings; exact counting only where the cheap one differs."""
    if text.count("{") == text.count("}") and text.count("[") == text.count("]") and text.count('"') % 2 == 0:
        return False
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "", text, flags=re.DOTALL)
    return '"' in bare or bare.count("{") > bare.count("}") or bare.count("[") > bare.count("]")


def _search(pattern: re.Pattern[str], turn: Turn, what: str, hints: tuple[str, ...] = ("",)) -> str | None:
    for text in (turn.exchange.response.text, turn.exchange.call.text):
        if _hints(text, hints) and (found := pattern.search(text)):
            return f"{what} {found.group()!r:.40}"
    return None


def _hints(text: str, hints: tuple[str, ...]) -> bool:
    return any(map(text.lower().__contains__, hints))  # A generator would take longer than the search.
