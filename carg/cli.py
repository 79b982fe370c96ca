"""The command line: the group that joins the commands, and the only place that exits."""

from __future__ import annotations

import contextlib
import signal
import sys
from types import FrameType

import click

from carg import __version__
from carg.commands.domains import domains
from carg.commands.making import demo, expand, filter_, generate, import_, plan, run_, status
from carg.commands.modelling import evaluate, finetune, simulate
from carg.commands.stats import stats
from carg.console import Screen
from carg.errors import CargError

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=CONTEXT)
@click.version_option(__version__, prog_name="carg")
@click.option("--quiet", is_flag=True, help="No progress, no notes: results and errors only.")
@click.option("--json", "as_json", is_flag=True, help="Results as JSON on stdout.")
@click.pass_context
def cli(context: click.Context, quiet: bool, as_json: bool) -> None:
    """Synthesise the world of tools, and train a model to simulate it.

    \b
    carg expand --run outputs/mine            tools and conventions, from executable worlds
    carg generate --run outputs/mine          calls, answers and sessions, proved by execution
    carg filter --run outputs/mine            checks; Parquet shards
    carg finetune --run outputs/mine          a tool simulator trained on the shards
    carg evaluate outputs/mine/dataset        how well it answers for tools it never saw
    carg simulate --run outputs/mine          its answer beside the world's
    """
    context.obj = Screen(quiet=quiet, as_json=as_json)


for command in (
    expand,
    generate,
    filter_,
    run_,
    status,
    plan,
    finetune,
    evaluate,
    simulate,
    import_,
    domains,
    stats,
    demo,
):
    cli.add_command(command)


def _interrupt(_number: int, frame: FrameType | None) -> None:
    """SIGTERM (a time limit, a shutdown) ends a command as Ctrl-C does: what is made is kept."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):  # in the background of a shell
        raise KeyboardInterrupt
    handler(signal.SIGINT, frame)


def main() -> None:
    """Run the command; a known failure is two lines and its exit code."""
    with contextlib.suppress(ValueError):  # only the main thread may
        signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = cli(prog_name="carg", standalone_mode=False)
    except click.exceptions.Exit as done:
        code = done.exit_code
    except click.exceptions.NoArgsIsHelpError as fault:
        fault.show()
        code = fault.exit_code
    except click.UsageError as fault:
        command = fault.ctx.command_path if fault.ctx else "carg"
        Screen().error(f"{command}: {fault.format_message()}", f"{command} --help tells what it takes")
        code = fault.exit_code
    except (click.Abort, KeyboardInterrupt):
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        code = 130
    except CargError as fault:
        Screen().error(fault.message, fault.hint)
        code = fault.exit_code
    sys.exit(code if isinstance(code, int) else 0)
