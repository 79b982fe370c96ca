"""The parts of README.md that follow from the code: the tree, the commands, the checks.

`python docs/readme_parts.py` renews them.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"


def tree() -> str:
    """Every module with the first line of its docstring."""
    lines = ["```"]
    for folder in [
        ROOT / "carg",
        *sorted(path for path in (ROOT / "carg").iterdir() if (path / "__init__.py").exists()),
    ]:
        modules = sorted(folder.glob("*.py"), key=lambda path: (path.name != "__init__.py", path.name))
        for path in modules:
            said = (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()[0].rstrip(".")
            inside = folder.name != "carg"
            if path.name == "__init__.py":
                name = f"carg/{folder.name}/" if inside else "carg/"
            else:
                name = f"  {'  ' if inside else ''}{path.name}"
            lines.append(f"{name:<26}{said}")
    return "\n".join([*lines, "```"])


def commands() -> str:
    """Every command with the first line of its help."""
    from carg.cli import cli

    rows = ["| command | what it does |", "|---|---|"]
    for name, command in sorted(cli.commands.items()):
        for inner, sub in sorted(getattr(command, "commands", {"": command}).items()):
            rows.append(f"| `carg {f'{name} {inner}'.strip()}` | {(sub.help or '').strip().splitlines()[0]} |")
    return "\n".join(rows)


def checks() -> str:
    """Every check with its line."""
    from carg.checks import CHECKS

    rows = ["| check | judges | what holds |", "|---|---|---|"]
    rows += [f"| `{item.name}` | {item.judges} | {item.about} |" for item in CHECKS]
    return "\n".join(rows)


def renewed(text: str) -> str:
    """The text with each part between its marks made anew."""
    for name, part in (("tree", tree), ("commands", commands), ("checks", checks)):
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)", re.S)
        text = pattern.sub(rf"\g<1>{part().replace(chr(92), chr(92) * 2)}\g<2>", text)
    return text


if __name__ == "__main__":
    README.write_text(renewed(README.read_text()))
