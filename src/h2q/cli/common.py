"""What all commands share: errors and exit codes, options, tables and JSON."""

import errno
import json
import os
import re
import shutil
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

if TYPE_CHECKING:
    from h2q.report.document import Block

__all__ = [
    "CenterOption",
    "Commands",
    "DataOption",
    "EmbeddingsArgument",
    "JsonOption",
    "Metric",
    "SeedOption",
    "WhiteningOption",
    "check_output",
    "format_bytes",
    "format_seconds",
    "name_options",
    "naming",
    "parse_bits",
    "parse_options",
    "print_blocks",
    "print_fields",
    "print_json",
    "print_paragraph",
    "print_table",
    "refuse_overwriting",
    "start",
]

EmbeddingsArgument = Annotated[
    str,
    typer.Argument(metavar="EMBEDDINGS", help=".npy, .npz, .safetensors or .parquet; FILE:NAME picks an array."),
]
DataOption = Annotated[
    list[str] | None,
    typer.Option("--data-option", metavar="NAME=VALUE", help="Option of the data set, such as overlap=remove."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed; the same seed gives the same result.")]
CenterOption = Annotated[bool, typer.Option("--center/--no-center", help="Take the mean away first.")]
WhiteningOption = Annotated[
    float, typer.Option("--whitening", min=0, max=1, help="0: none, 1: principal components of unit variance.")
]
_OUTPUT = "--output"
_USAGE = 2
_INTERRUPTED = 130
_BROKEN_PIPE = 141  # what a shell shows for a program that SIGPIPE ended
# The options whose parameter in the library has another name, or that messages of the library mention.
_OPTIONS = {
    "n_bits": "--bits",
    "n_bytes": "--bytes",
    "random_state": "--seed",
    "keep_embeddings": "--keep-embeddings",
    "n_init": "--n-init",
    "max_samples": "--max-samples",
    "skip_broken": "--skip-broken",
    "n_queries": "--queries",
    "center": "--center",
    "whitening": "--whitening",
    "objective": "--objective",
    "schedule": "--schedule",
    "scoring": "--scoring",
    "metric": "--metric",
    "radius": "--radius",
    "rerank": "--rerank",
    "download": "--download",
    "resume": "--resume",
    "ids": "--ids",
    "k": "-k",
}


class Metric(StrEnum):
    """What makes embeddings near."""

    cosine = "cosine"
    euclidean = "euclidean"


class Commands(typer.core.TyperGroup):
    """The group of all commands: a user's mistake ends in one line on standard error, never in a stack trace."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands in alphabetical order, groups among them."""
        return sorted(self.commands)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command line and exit; Ctrl-C leaves as KeyboardInterrupt.

        Warnings and exceptions become single lines on standard error.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("default", UserWarning)
            warnings.showwarning = _show_warning
            try:
                code = super().main(*args, **{**kwargs, "standalone_mode": False})
                sys.stdout.flush()
            except Exception as error:
                if os.environ.get("H2Q_DEBUG"):
                    raise
                code = _report(error)
            except SystemExit as exiting:  # typer's answer to a broken pipe is a plain 1
                code = _report(exiting.__context__) if isinstance(exiting.__context__, OSError) else exiting.code
        if code == _INTERRUPTED:  # typer's answer to KeyboardInterrupt
            raise KeyboardInterrupt
        sys.exit(code)


def _report(error: Exception) -> int:
    """Print an exception as one line on standard error and return the exit code."""
    if isinstance(error, OSError):
        _drop_output()
    if isinstance(error, BrokenPipeError):
        return _BROKEN_PIPE
    if hasattr(error, "show"):  # wrong usage: typer knows the command and its options
        _add_input(error)
        error.show()
        return int(getattr(error, "exit_code", _USAGE))
    print(f"error: {_explain(error)}", file=sys.stderr)
    return 1


def _drop_output() -> None:
    """Discard what standard output still buffers if it cannot be written: Python would fail again when it exits."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _add_input(error: Any) -> None:
    """Add the rejected input to typer's message about an option, which leaves it out."""
    errors = getattr(error.__cause__, "errors", None)
    message = getattr(error, "message", None)
    if callable(errors) and isinstance(message, str):
        given = repr(errors()[0]["input"])
        if given not in message:
            error.message = f"{message}; got {given}"


def _explain(error: Exception) -> str:
    """Return the message of an exception; one that h2q does not raise on purpose is named."""
    if isinstance(error, MemoryError):
        return f"not enough memory: {error}" if str(error) else "not enough memory"
    if isinstance(error, OSError) and error.strerror:
        output = "cannot write to standard output" if error.errno == errno.ENOSPC else None  # else a DiskFullError
        return ": ".join(filter(None, [error.filename or output, error.strerror]))
    if isinstance(error, (ValueError, TypeError, OSError, ImportError)) and str(error):
        return name_options(str(error))
    return f"unexpected {type(error).__name__}: {error} (H2Q_DEBUG=1 shows where; please report it)"


def name_options(message: str) -> str:
    """Replace the library's parameters in a message by the options of the command line.

    >>> name_options("make the index with keep_embeddings=True")
    'make the index with --keep-embeddings'
    >>> name_options("n_bits must be at least 1; use n_bits=64 (or None)")
    '--bits must be at least 1; use --bits 64'
    """
    message = message.replace(" (or None)", "")  # None is an option left out
    for name, option in _OPTIONS.items():
        message = re.sub(rf"\b{name}=True\b", option, message)
        message = re.sub(rf"\b{name}=False\b", option.replace("--", "--no-", 1), message)
        message = re.sub(rf"\b{name}=(?=[\w\"'])", f"{option} ", message)
        message = re.sub(rf"\b{name}=", option, message)
        alone = name if "_" in name else rf"^{name}(?= must\b)"  # a plain word: by what follows
        message = re.sub(rf"(?<![\w/.-]){alone}(?![\w/.-])", option, message)
    return message


def _show_warning(message: Warning | str, *args: Any, **kwargs: Any) -> None:
    print(f"warning: {name_options(str(message))}", file=sys.stderr)


def _print_version(wanted: bool) -> None:
    if wanted:
        from h2q import __version__

        print(f"h2q {__version__}")
        raise typer.Exit


def start(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Binary codes from embeddings by learned rotations, and search over them."""
    if context.invoked_subcommand is None:
        print(context.get_help())


def parse_bits(text: str, option: str = "--bits") -> list[int]:
    """Return code lengths given as ``16,32,64``.

    Raises
    ------
    typer.BadParameter
        If one is no whole number from 1 to 65,536; names the option.

    Examples
    --------
    >>> parse_bits("64,16,64")
    [16, 64]
    """
    from h2q.checks import MAX_BITS

    lengths = set()
    for part in text.split(","):
        if not part.strip().isdecimal() or not 1 <= int(part) <= MAX_BITS:
            raise typer.BadParameter(
                f"expected code lengths from 1 to {MAX_BITS} with commas between, such as 16,32,64; got {text!r}",
                param_hint=option,
            )
        lengths.add(int(part))
    return sorted(lengths)


def parse_options(assignments: Sequence[str] | None, option: str) -> dict[str, Any]:
    """Return options given as ``NAME=VALUE``; a value that reads as JSON becomes it. The last of a name counts.

    Raises
    ------
    typer.BadParameter
        If there is no ``=`` or no name; names the option.

    Examples
    --------
    >>> parse_options(["gamma=10", "overlap=keep"], "--data-option")
    {'gamma': 10, 'overlap': 'keep'}
    """
    options: dict[str, Any] = {}
    for assignment in assignments or ():
        name, sign, text = assignment.partition("=")
        name = name.strip().replace("-", "_")
        if not sign or not name.isidentifier():
            raise typer.BadParameter(f"expected NAME=VALUE; got {assignment!r}", param_hint=option)
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        options[name] = value
    return options


def check_output(output: Path, *suffixes: str) -> None:
    """Refuse an output whose name does not end in one of these, or whose folder does not exist, before any work.

    Raises
    ------
    typer.BadParameter
        If it does not; names the option.
    """
    if output.suffix.lower() not in suffixes:
        raise typer.BadParameter(
            f"expected a name that ends in {' or '.join(suffixes)}; got {output}", param_hint=_OUTPUT
        )
    if output.parent.exists() and not output.parent.is_dir():
        raise typer.BadParameter(f"{output.parent} is a file, not a folder to write to", param_hint=_OUTPUT)
    if not output.parent.is_dir():
        raise typer.BadParameter(f"the folder {output.parent} does not exist; make it first", param_hint=_OUTPUT)
    if output.is_dir():
        raise typer.BadParameter(f"{output} is a folder; expected the name of a file", param_hint=_OUTPUT)


def refuse_overwriting(output: Path, *inputs: str | Path) -> None:
    """Refuse an output that is one of the inputs; anything else that stands there is replaced, atomically.

    Raises
    ------
    typer.BadParameter
        If it is.
    """
    from h2q.files import split_name

    for given in inputs:
        path = given if isinstance(given, Path) else split_name(given)[0]
        if path.exists() and output.exists() and path.samefile(output):
            raise typer.BadParameter(f"{output} is also an input; give another name", param_hint=_OUTPUT)


@contextmanager
def naming(source: str) -> Iterator[None]:
    """Put the name of a file before errors about what is in it, where they do not name it themselves."""
    try:
        yield
    except (ValueError, TypeError) as error:
        if str(source) in str(error):
            raise
        raise type(error)(f"{source}: {error}") from error


def print_json(document: Any) -> None:
    """Print one JSON document, numpy's numbers and arrays included."""
    print(json.dumps(document, default=_to_json, ensure_ascii=False, allow_nan=False))


def _to_json(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def print_blocks(*blocks: "Block") -> None:
    """Print tables, paragraphs and lists: fitted to a terminal, and in whole lines in a pipe."""
    from h2q.report.render_terminal import render_terminal

    on_terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if on_terminal else None
    print(render_terminal(*blocks, width=width, styled=on_terminal and "NO_COLOR" not in os.environ), end="")


def print_paragraph(text: str) -> None:
    """Print a sentence or more: wrapped between words on a terminal, in one line in a pipe."""
    from h2q.report.document import Paragraph

    print_blocks(Paragraph(text))


def print_fields(fields: Iterable[tuple[str, Any]]) -> None:
    """Print names and values in two columns.

    >>> print_fields([("bits", 64), ("method", "itq")])
    bits    64
    method  itq
    """
    pairs = list(fields)
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        print(f"{name:<{width}}  {value}")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, text_columns: int = 1) -> None:
    """Print a table of plain cells.

    Parameters
    ----------
    columns : sequence of str
        Column heads.
    rows : iterable of sequences
        Cells; None is an empty one.
    text_columns : int
        Number of columns, from the left, that hold text; the others hold numbers.

    Examples
    --------
    >>> print_table(["quantizer", "error"], [["sign", 0.4], ["itq", 0.1]])
      quantizer   error
     ───────────────────
      sign          0.4
      itq           0.1
    <BLANKLINE>
    """
    from h2q.report.document import Table, as_rows

    print_blocks(Table(columns=tuple(columns), rows=as_rows(rows), text_columns=text_columns))
    print()


def format_seconds(seconds: float) -> str:
    """Return a duration as people read it.

    >>> format_seconds(0.0123), format_seconds(4.21), format_seconds(75.2)
    ('0.01 s', '4.2 s', '75 s')
    """
    return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def format_bytes(n_bytes: float) -> str:
    """Return a size as people read it.

    >>> format_bytes(512), format_bytes(80_000), format_bytes(3_200_000_000)
    ('512 B', '80.0 kB', '3.2 GB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} B" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"
