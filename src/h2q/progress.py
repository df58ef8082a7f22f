"""Progress bars: shown on a terminal, silent in a pipe."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["progress_bar", "seconds_left"]

_shown: "list[Progress]" = []  # the display of this process, while there is one; further bars are lines in it


@contextmanager
def progress_bar(
    description: str, total: int | None, *, enabled: bool = True, done: int = 0
) -> Iterator[Callable[[int], None]]:
    """Show a bar on standard error while the block runs; call the function it yields with the steps done since.

    Silent if standard error is no terminal, or if `enabled` is false. Bars nest: an inner one is a further line.

    Parameters
    ----------
    description : str
        Text before the bar.
    total : int or None
        Number of steps; None if unknown.
    enabled : bool
        Whether to show the bar.
    done : int
        Steps done before the block began; the estimate of the time left does not count them.

    Examples
    --------
    >>> with progress_bar("encoding", 10) as advance:
    ...     advance(10)
    """
    if not (enabled and sys.stderr.isatty()):
        yield lambda steps: None
        return
    if _shown:
        with _task(_shown[0], description, total, done) as advance:
            yield advance
        return
    with _new_display() as display, _task(display, description, total, done) as advance:
        _shown.append(display)
        try:
            yield advance
        finally:
            _shown.clear()


@contextmanager
def _task(display: "Progress", description: str, total: int | None, done: int) -> Iterator[Callable[[int], None]]:
    task = display.add_task(description, total=total, completed=done, done=done)
    try:
        yield lambda steps: display.advance(task, steps)
    finally:
        display.remove_task(task)


def _new_display() -> "Progress":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
    )
    from rich.text import Text

    class TimeLeft(ProgressColumn):
        """Time left by the mean speed so far: steps that come in bursts do not throw it off."""

        def render(self, task: Task) -> Text:
            left = seconds_left(task.elapsed or 0.0, task.total, task.completed, task.fields["done"])
            return Text("" if left is None else f"about {_clock(left)} left", style="progress.remaining")

    columns: tuple[Any, ...] = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeLeft(),
    )  # fmt: skip
    return Progress(*columns, console=Console(stderr=True), transient=True)


def seconds_left(elapsed: float, total: float | None, completed: float, done: float) -> float | None:
    """Return the time left if the remaining steps take as long as those since the start; None if unknown.

    >>> seconds_left(60, 10, 4, 2), seconds_left(60, 10, 2, 2), seconds_left(60, None, 2, 0)
    (180.0, None, None)
    """
    if total is None or completed <= done:
        return None
    return elapsed * (total - completed) / (completed - done)


def _clock(seconds: float) -> str:
    """Return a duration as hours, minutes and seconds.

    >>> _clock(3725), _clock(59.7)
    ('1:02:05', '1:00')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
