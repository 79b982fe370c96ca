"""Commands about domain files: list, show, check, draft."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from carg.console import Screen
from carg.options import backend_options, make_road, seed_option, width_option


@click.group()
def domains() -> None:
    """List, show and check domain files."""


@domains.command("list")
@click.option("--worlds", is_flag=True, help="Only those with a world.")
@click.pass_obj
def domains_list(screen: Screen, worlds: bool) -> None:
    """The domains that ship, or those of CARG_DOMAINS.

    Example: carg domains list --worlds
    """
    from carg.domains import list_seeds

    seeds = [seed for seed in list_seeds() if seed.has_world or not worlds]
    if screen.as_json:
        screen.json(
            [
                {"name": s.name, "category": s.category, "title": s.title, "world": s.has_world, "held_out": s.held_out}
                for s in seeds
            ]
        )
        return
    rows = [
        (seed.category, seed.name, seed.title, "world" if seed.has_world else "", "held out" if seed.held_out else "")
        for seed in seeds
    ]
    screen.table(f"{len(seeds)} domains", ("category", "name", "title", "", ""), rows)


@domains.command("show")
@click.argument("name")
@click.pass_obj
def domains_show(screen: Screen, name: str) -> None:
    """A domain: summary, topics, and the services and tools of its world.

    Example: carg domains show beekeeping
    """
    from carg.talking import show_domain

    show_domain(screen, name)


@domains.command("check")
@click.option(
    "--services", type=click.IntRange(1), default=40, show_default=True, help="Drawn services to grow per world."
)
@width_option
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.pass_obj
def domains_check(screen: Screen, services: int, workers: int | None, files: tuple[Path, ...]) -> None:
    """Check FILES (default: all): seeds for form, worlds by growing and calling them.

    Example: carg domains check drafts/falconry.toml
    """
    from carg.talking import check_files

    check_files(screen, files, services, workers)


@domains.command("draft")
@click.option("--out", type=click.Path(path_type=Path), help="The file; default: drafts/NAME.toml.")
@click.option("--category", default="", help="Title of its category, where the list of domains has none.")
@click.option("--rounds", type=click.IntRange(1), default=12, show_default=True, help="Times the model may mend it.")
@click.option(
    "--services",
    type=click.IntRange(1),
    default=40,
    show_default=True,
    help="Drawn services to grow when it is checked.",
)
@seed_option
@backend_options
@click.argument("title")
@click.pass_obj
def domains_draft(
    screen: Screen,
    /,
    out: Path | None,
    category: str,
    rounds: int,
    services: int,
    seed: int,
    title: str,
    **options: Any,
) -> None:
    """Let a model write a world for TITLE (or a domain of the list), and mend it until the checker is content.

    Example: carg domains draft "Falconry" --backend openai/gpt-5
    """
    from carg.talking import show_draft

    if (road := make_road(seed, options)) is None:
        raise click.UsageError("a world is drafted by a model: name one with --backend")
    show_draft(screen, title, out, road, category=category, rounds=rounds, services=services)
