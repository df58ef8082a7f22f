"""The command line: one file per command, thin over the library.

A module of this package whose ``__all__`` holds a function of the module's own name is a command (``_`` is typed as
``-``); any other module with an ``__all__`` is a group of commands, one per name. Nothing heavy is imported before a
command runs, so that help and completion answer at once.
"""

import sys

from h2q.cli.interrupts import Interrupts

TYPE_CHECKING = False  # typing's, without the time to import it: until main runs, Ctrl-C shows a traceback
if TYPE_CHECKING:
    import typer

__all__ = ["build_app", "main"]

_SHARED = ("collections", "common", "interrupts", "thumbnails")


def main() -> None:
    """Run the command line and exit.

    The exit code is 0 when done, 1 after a failure, 2 after wrong usage, 130 and 143 when interrupted by Ctrl-C and
    SIGTERM, 141 when the reader of a pipe has left.
    """
    interrupts = Interrupts()
    try:
        interrupts.install()
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")  # a terminal without ² shows a ?
        build_app()(prog_name="h2q")
    except KeyboardInterrupt:
        sys.exit(interrupts.say())
    finally:
        interrupts.finish()


def build_app() -> "typer.Typer":
    """Return the typer application with every command of this package."""
    import importlib
    import pkgutil

    import typer

    from h2q.cli import common

    app = typer.Typer(
        cls=common.Commands, invoke_without_command=True, rich_markup_mode=None, pretty_exceptions_enable=False
    )
    app.callback()(common.start)
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        module = importlib.import_module(f"{__name__}.{name}")
        if name in _SHARED or not hasattr(module, "__all__"):
            continue
        if name in module.__all__:
            app.command(name.replace("_", "-"))(getattr(module, name))
            continue
        # The help of a group is what follows the colon in "``h2q NAME``: ...", the first line of its module.
        summary = (module.__doc__ or "").splitlines()[0].partition(": ")[2]
        group = typer.Typer(no_args_is_help=True, help=summary[:1].upper() + summary[1:])
        for command in module.__all__:
            group.command(command)(getattr(module, command))
        app.add_typer(group, name=name)
    return app
