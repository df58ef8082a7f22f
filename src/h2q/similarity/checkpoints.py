"""The folder of a training: its checkpoints, and the identity of the run that it holds.

A checkpoint is a file of h2q: its only tensor holds the bytes that `torch.save` makes. So it is complete or absent,
and carries checksums.
"""

import io
import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from h2q.errors import FileFormatError
from h2q.files import read_checked_json, read_tensors, write_checked_json, write_tensors

__all__ = ["CheckpointFiles", "open_folder", "read_checkpoint"]

_KIND, _TENSOR = "checkpoint", "torch"

_IDENTITY = "training.json"


def open_folder(folder: Path, resume: bool, identity: Mapping[str, Any]) -> Path | None:
    """Return the checkpoint to continue from, None for a fresh start; refuse to mix two runs.

    Parameters
    ----------
    folder : path
        Made if it does not exist.
    resume : bool
        Whether to continue a run that the folder holds.
    identity : mapping
        JSON-able: all that changes the result of the run.

    Raises
    ------
    ValueError
        If the folder holds a run and `resume` is false, or a run of another identity.
    FileFormatError
        If a file in it is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    described, last = folder / _IDENTITY, folder / "last.ckpt"
    plain = json.loads(json.dumps(identity))
    if not last.exists():
        write_checked_json(described, plain)
        return None
    if not resume:
        raise ValueError(f"{folder} holds a training run already; pass resume=True to continue it, or another folder")
    before = read_checked_json(described) if described.exists() else {}
    changed = sorted(key for key in {*before, *plain} if before.get(key) != plain.get(key))
    if changed:
        raise ValueError(
            f"{folder} holds a run with another {' and '.join(changed)}; resume it with the arguments it was started "
            "with, or pass another folder"
        )
    read_checkpoint(last)  # So that a damaged file gets this module's message, not Lightning's.
    return last


def read_checkpoint(path: str | PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint: tensors and plain values only, so that loading runs no code.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileFormatError
        If it is damaged, or no checkpoint of h2q.
    """
    try:
        content = read_tensors(path, _KIND).tensors[_TENSOR]
        checkpoint: dict[str, Any] = torch.load(io.BytesIO(content.data), map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:
        raise FileFormatError(f"{path} is no readable checkpoint, or it is truncated: {error}") from error
    return checkpoint


class CheckpointFiles(TorchCheckpointIO):
    """Lightning's way to the files of checkpoints."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint, atomically."""
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_tensors(path, _KIND, {_TENSOR: np.frombuffer(content.getbuffer(), np.uint8)}, {})

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint."""
        return read_checkpoint(path)
