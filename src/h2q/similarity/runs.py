"""How a training runs, and its history."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Literal

__all__ = ["Hardware", "RunOptions", "TrainingHistory"]


@dataclass(frozen=True)
class Hardware:
    """The hardware that a training uses.

    Attributes
    ----------
    accelerator : str
        "cpu", "gpu", or "auto": a GPU if there is one.
    devices : int
        Number of processes that train together, each on its own GPU, or all on the CPU. More than one starts new
        processes: a script that does so needs ``if __name__ == "__main__":``.
    precision : str
        Lightning's name: "32-true", "16-mixed" (GPU) or "bf16-mixed".
    threads : int or None
        CPU threads of each process; None: torch's setting.

    Examples
    --------
    >>> RunOptions(hardware=Hardware(accelerator="cpu", threads=2)).hardware.threads
    2
    """

    accelerator: str = "auto"
    devices: int = 1
    precision: str = "32-true"
    threads: int | None = None


@dataclass(frozen=True)
class RunOptions:
    """Options of a run. None of them changes what is learned, except through the rounding of other hardware.

    Attributes
    ----------
    folder : path, optional
        Folder for checkpoints and logs; None: nothing is kept.
    resume : bool
        Continue the run in `folder`, if there is one.
    log : {"csv", "tensorboard"}, optional
        Write loss and validation score to ``folder / "logs"``.
    hardware : Hardware, optional
        Accelerator, processes, precision, threads. Default: one CPU core for heads, which are too small to gain from
        more, and ``Hardware()`` for networks.
    n_workers : int
        Number of processes that read images ahead; 0: images are read in the training process.
    progress : bool
        Whether to show bars on a terminal.

    Examples
    --------
    >>> RunOptions(folder="run").within("head").folder
    'run/head'
    """

    folder: str | PathLike[str] | None = None
    resume: bool = False
    log: Literal["csv", "tensorboard"] | None = None
    hardware: Hardware | None = None
    n_workers: int = 0
    progress: bool = True

    def __post_init__(self) -> None:
        if self.log not in (None, "csv", "tensorboard"):
            raise ValueError(f'log must be "csv", "tensorboard" or None; got {self.log!r}')
        if self.log is not None and self.folder is None:
            raise ValueError(f"log={self.log!r} needs a folder to write to; pass folder=...")

    def within(self, part: str) -> "RunOptions":
        """Return the same options with the sub-folder `part` for a folder."""
        return self if self.folder is None else replace(self, folder=str(Path(self.folder) / part))


@dataclass(frozen=True)
class TrainingHistory:
    """The epochs of a training.

    Attributes
    ----------
    epochs : tuple of mapping
        For each epoch: "epoch", "loss" and, with validation, "validation_map".
    best_epoch : int
        The epoch whose weights were kept, counted from 0: the one with the highest validation score, or the last one
        without validation. -1: the weights that training started from.
    validation_map : float or None
        Validation score of the weights that were kept, from 0 to 1.
    seconds : float
        Wall-clock time of this call.
    initial_map : float or None
        Validation score of the weights that training started from, where these were a candidate.

    Examples
    --------
    >>> history = TrainingHistory(({"epoch": 0, "loss": 0.7, "validation_map": 0.5},), 0, 0.5, seconds=1.2)
    >>> history.epochs[history.best_epoch]["loss"]
    0.7
    """

    epochs: tuple[Mapping[str, float], ...]
    best_epoch: int
    validation_map: float | None
    seconds: float
    initial_map: float | None = None
