"""The state of an index in memory, and its way to and from a folder."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from h2q.index.folder import IndexFolder
from h2q.index.merging import merge
from h2q.index.state import IndexState

__all__ = ["IndexStore"]


@dataclass(frozen=True)
class _View:
    """A state and where it came from; replaced as a whole, so that an interrupt leaves it consistent.

    `saved` is the content of the folder when it was last read or written, and `pending` what a save was about to make
    of it: if the save was interrupted, that may have been committed or not.
    """

    state: IndexState
    folder: IndexFolder | None = None
    saved: IndexState | None = None
    pending: IndexState | None = None


class IndexStore:
    """The current state of an index, shared by threads, and the folder that it is saved to.

    Code that changes the state holds `changing` from reading `state` to setting it. Readers need no lock: a state never
    changes.

    Parameters
    ----------
    state : IndexState
        The content of a new index.
    """

    def __init__(self, state: IndexState) -> None:
        self._view = _View(state)
        self.changing = threading.RLock()

    @classmethod
    def open(cls, path: Path) -> "IndexStore":
        """Read the index in a folder."""
        folder = IndexFolder(path.resolve())
        state = folder.read()
        store = cls(state)
        store._view = _View(state, folder, state)
        return store

    @property
    def state(self) -> IndexState:
        """Content of the index."""
        return self._view.state

    @state.setter
    def state(self, state: IndexState) -> None:
        self._view = replace(self._view, state=state)

    @property
    def path(self) -> Path | None:
        """Folder of the index; None before the first save."""
        folder = self._view.folder
        return None if folder is None else folder.path

    def save(self, path: Path | None, timeout: float) -> None:
        """Write the state to a folder; see `BinaryIndex.save`."""
        with self.changing:
            own = self._view.folder
            folder = own if path is None else IndexFolder(path.resolve())
            if folder is None:
                raise ValueError("path is missing: the index has not been saved yet")
            if own is not None and folder.path == own.path:
                folder = own
                view = self._view
                if view.state is view.saved and view.pending is None and folder.holds_index():
                    folder.tidy()
                    return
            with folder.locked(timeout):
                # The folder may have been deleted since it was opened.
                if folder is own and folder.holds_index():
                    self._take_up(folder)
                    self._write(folder, self.state)
                else:
                    self._write(folder, self.state.unsaved())

    @contextmanager
    def locked(self, timeout: float) -> Iterator[None]:
        """Keep others from saving to the folder; see `BinaryIndex.locked`."""
        folder = self._view.folder
        if folder is None:
            raise ValueError("the index has not been saved yet: there is no folder to lock")
        with self.changing, folder.locked(timeout):
            self._take_up(folder)
            yield

    def refresh(self) -> None:
        """Take up what others saved to the folder; see `BinaryIndex.refresh`."""
        with self.changing:
            folder = self._view.folder
            if folder is not None:
                self._take_up(folder)

    def _take_up(self, folder: IndexFolder) -> None:
        """Merge in what another process saved to the folder since it was last read or written."""
        manifest = folder.read_manifest()
        view = self._view
        if view.pending is not None and manifest.generation == view.pending.generation:
            view = self._view = replace(view, saved=view.pending, pending=None)
        saved = view.saved
        if saved is None or manifest.generation == saved.generation:
            return
        if manifest.uid != saved.uid:
            raise FileExistsError(
                f"another index was saved to {folder.path} since this one was opened; save to another folder"
            )
        disk = folder.read()
        unchanged = view.state is saved
        state = disk if unchanged else merge(saved, view.state, disk, may_be_there=view.pending is not None)
        self._view = _View(state, folder, disk)

    def _write(self, folder: IndexFolder, state: IndexState) -> None:
        """Write a state to a locked folder; whatever happens, adopt it if and only if it was committed."""
        written, pending = None, self._view.pending
        try:
            written = folder.write_parts(state)
            self._view = replace(self._view, pending=written)
            folder.commit(written)
        finally:
            if written is not None and folder.holds_generation(written.generation):
                self._view = _View(written, folder, written)
            else:
                self._view = replace(self._view, pending=pending)
                folder.delete_left_overs()
        folder.write_backup()
        folder.delete_left_overs()

    def __getstate__(self) -> dict[str, Any]:
        """Return what pickle stores: the folder if all is saved there, otherwise the items."""
        view = self._view
        if view.folder is not None and view.state is view.saved:
            return {"path": view.folder.path}
        return {"state": view.state.unsaved()}

    def __setstate__(self, stored: dict[str, Any]) -> None:
        self.changing = threading.RLock()
        self._view = self.open(stored["path"])._view if "path" in stored else _View(stored["state"])
