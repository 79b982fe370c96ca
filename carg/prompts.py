"""Prompts are files: `prompts/<name>.md`, Markdown under a TOML front matter, rendered strictly.

    +++
    version = 1
    variables = ["service", "tools"]
    reply = '''{"type": "object", ...}'''        JSON Schema of the answer
    +++
    # System
    Text with {{service}}.
    # User
    Text with {{tools}}.

The schema of the answer stands at the end of the system text, whether or not a server also enforces it: so the
messages, and with them the cache, do not depend on what a server can do. Who asks, and when, lies in `asking`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import orjson

from carg.errors import PromptError
from carg.records import Json, digest

_SLOT = re.compile(r"\{\{\s*([a-z][a-z0-9_]*)\s*\}\}")
_WHOLE = re.compile(r"\A\+\+\+\n(.*?)\n\+\+\+\n\s*# System\n(.*?)\n# User\n(.*)\Z", re.DOTALL)
_FIELDS = {"version": int, "about": str, "variables": list, "reply": str}


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt file, read and checked. `digest` changes with every character of the file."""

    name: str
    about: str
    version: int
    variables: tuple[str, ...]
    reply: dict[str, Json]
    system: str
    user: str
    digest: str


def prompt_folder() -> Path:
    """Where the prompt files lie: inside an installed package, or beside it in a checkout."""
    installed = Path(__file__).parent / "_data" / "prompts"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "prompts"


def prompt_names(folder: Path | None = None) -> list[str]:
    """The names of all prompt files, sorted; README.md is none."""
    return sorted(path.stem for path in (folder or prompt_folder()).glob("*.md") if path.stem != "README")


@lru_cache
def load_prompt(name: str, folder: Path | None = None) -> Prompt:
    """The prompt of that name. Raises PromptError when the file is missing or malformed."""
    path = (folder or prompt_folder()) / f"{name}.md"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as fault:
        raise PromptError(f"{path}: no such prompt", f"there are: {', '.join(prompt_names(folder))}") from fault
    return read_prompt(name, text, where=str(path))


def read_prompt(name: str, text: str, *, where: str) -> Prompt:
    """A prompt from the text of its file; `where` names it in errors."""
    found = _WHOLE.match(text)
    if found is None:
        raise PromptError(f"{where}: not a prompt", "begin with +++ TOML +++, then '# System' and '# User'")
    head, system, user = found[1], found[2].strip(), found[3].strip()
    fields = _front_matter(head, where)
    declared, used = set(fields["variables"]), set(_SLOT.findall(system + user))
    if declared != used:
        raise PromptError(
            f"{where}: variables declared but not used: {sorted(declared - used)}; used but not declared: "
            f"{sorted(used - declared)}",
            "make `variables` list exactly the {{names}} of the text",
        )
    if "{{" in _SLOT.sub("", system + user):
        raise PromptError(f"{where}: a {{{{ that is no {{{{name}}}}", "names are lower case letters, digits and _")
    return Prompt(
        name=name,
        about=fields["about"],
        version=fields["version"],
        variables=tuple(fields["variables"]),
        reply=fields["reply"],
        system=system,
        user=user,
        digest=digest("prompt", text),
    )


def render_prompt(prompt: Prompt, variables: Mapping[str, Json]) -> tuple[dict[str, str], ...]:
    """System and user message; the reply schema ends the system text. Text goes in as it is, other values as JSON.

    Raises PromptError when a variable is missing or one is given that the prompt does not use. A value is never
    searched for slots.
    """
    missing, unused = set(prompt.variables) - variables.keys(), variables.keys() - set(prompt.variables)
    if missing or unused:
        raise PromptError(
            f"prompt {prompt.name}: missing {sorted(missing)}, not used {sorted(unused)}",
            f"it takes exactly {list(prompt.variables)}",
        )
    texts = {name: value if isinstance(value, str) else _compact(value) for name, value in variables.items()}
    system = _SLOT.sub(lambda slot: texts[slot[1]], prompt.system)
    system += f"\n\nAnswer with JSON only, no text around it, fitting this JSON Schema:\n{_compact(prompt.reply)}"
    user = _SLOT.sub(lambda slot: texts[slot[1]], prompt.user)
    return {"role": "system", "content": system}, {"role": "user", "content": user}


def _compact(value: Json) -> str:
    return orjson.dumps(value).decode()


def _front_matter(head: str, where: str) -> dict[str, Json]:
    try:
        fields = tomllib.loads(head)
    except tomllib.TOMLDecodeError as fault:
        raise PromptError(f"{where}: front matter: {fault}", "it is TOML between two lines of +++") from fault
    wrong = [name for name, kind in _FIELDS.items() if not isinstance(fields.get(name), kind)]
    if wrong or fields.keys() != _FIELDS.keys():
        raise PromptError(
            f"{where}: front matter: wrong or missing {wrong}, unknown {sorted(fields.keys() - _FIELDS.keys())}",
            f"it has exactly {', '.join(_FIELDS)}",
        )
    try:
        fields["reply"] = orjson.loads(fields["reply"])
    except orjson.JSONDecodeError as fault:
        raise PromptError(f"{where}: reply: {fault}", "reply is a JSON Schema as JSON text") from fault
    if not isinstance(fields["reply"], dict):
        raise PromptError(f"{where}: reply is no object", "reply is a JSON Schema as JSON text")
    return fields
