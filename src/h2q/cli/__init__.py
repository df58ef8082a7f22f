"""The command line: one file a command, thin over the library.

Nothing heavy is imported before a command runs, so that help and completion answer at once.
"""

import sys
from typing import Any

__all__ = ["build_app", "main"]


def main() -> None:
    """Run the command line and exit: 0 done, 1 failure, 2 wrong usage, 130 interrupted, 143 terminated."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that knows no ² shows a ?
    try:
        build_app()(prog_name="h2q")
    except KeyboardInterrupt:  # before a command has begun
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def build_app() -> Any:
    """Return the typer application; a new command is one line here."""
    import typer

    from h2q.cli import common, experiment, index
    from h2q.cli.compare import compare
    from h2q.cli.demo import demo
    from h2q.cli.embed import embed
    from h2q.cli.encode import encode
    from h2q.cli.evaluate import evaluate
    from h2q.cli.fit import fit
    from h2q.cli.info import info
    from h2q.cli.inspect import inspect
    from h2q.cli.search import search
    from h2q.cli.train import train

    app = typer.Typer(
        cls=common.Commands,
        invoke_without_command=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(common.start)
    commands: tuple[Any, ...] = (demo, fit, encode, search, compare, evaluate, inspect, info, embed, train)
    for command in commands:
        app.command()(command)
    changes = typer.Typer(no_args_is_help=True, help="Make an index of codes, and change it.")
    commands = (index.build, index.append, index.remove, index.compact)
    for command in commands:
        changes.command()(command)
    app.add_typer(changes, name="index")
    experiments = typer.Typer(no_args_is_help=True, help="The paper's grid, or one of your own: run, status, report.")
    commands = (experiment.run, experiment.status, experiment.report, experiment.show)
    for command in commands:
        experiments.command()(command)
    app.add_typer(experiments, name="experiment")
    return app
