"""Atomic writes: a file appears whole or not at all, and what a killed writer leaves is deleted by the next one."""

import errno
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from h2q.errors import DiskFullError

if sys.platform != "win32":
    import fcntl

__all__ = ["atomic_folder", "atomic_path", "reclaim", "sync_folder"]

_TEMPORARY = re.compile(r"\..+\.h2q-(folder-)?[0-9a-f]{16}\.tmp")  # the names of folders say that they are
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_MAX_NAME = 50  # characters of the target's name in the temporary name, which must not become too long itself


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends without an error, sync it and rename it to `path`.

    If the block raises, or the process dies in it, the file at `path` stays as it was. Temporary files that killed
    writers left in the folder are deleted first; see `reclaim`.

    Parameters
    ----------
    path : path
        The file to write; its folder must exist. If it is a symbolic link, the file that it leads to is written.

    Yields
    ------
    Path
        An empty file, ``.NAME.h2q-0123456789abcdef.tmp``, to be opened and written.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    FileExistsError
        If there is something else than a file at `path`: a folder, a device, a pipe.
    DiskFullError
        If the disk or the quota is full.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with atomic_path(folder / "a.txt") as temporary:
    ...     _ = temporary.write_text("whole")
    >>> [file.name for file in folder.iterdir()]
    ['a.txt']
    """
    target = Path(path)
    if target.is_symlink():
        target = target.resolve()
    if target.exists() and not target.is_file():
        what = "a folder" if target.is_dir() else "a device or a pipe"
        raise FileExistsError(f"cannot write {target}: it is {what}, not a file; choose another name")
    with _naming(target):
        reclaim(target.parent)
        descriptor, temporary = _create_temporary(target)
    try:
        with _naming(target):
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        if descriptor is not None:
            os.close(descriptor)
    sync_folder(target.parent)


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; when the block ends without an error, sync it and rename it to `path`.

    If the block raises, or the process dies in it, what stands at `path` stays as it was. A folder that stands there is
    moved away first and deleted afterwards; who calls this decides whether that may be.

    Parameters
    ----------
    path : path
        The folder to write; its parent must exist.

    Yields
    ------
    Path
        An empty folder, ``.NAME.h2q-folder-0123456789abcdef.tmp``.

    Raises
    ------
    FileNotFoundError
        If the parent does not exist.
    DiskFullError
        If the disk or the quota is full.

    Examples
    --------
    >>> import tempfile
    >>> parent = Path(tempfile.mkdtemp())
    >>> with atomic_folder(parent / "site") as temporary:
    ...     _ = (temporary / "index.html").write_text("whole")
    >>> [str(file.relative_to(parent)) for file in parent.rglob("*.*")]
    ['site/index.html']
    """
    target = Path(path)
    with _naming(target):
        reclaim(target.parent)
        temporary = _temporary_name(target, "folder-")
        temporary.mkdir()
    descriptor = None
    try:
        with _naming(target):
            if sys.platform != "win32":  # an open folder cannot be renamed there
                descriptor = os.open(temporary, os.O_RDONLY)
                _lock(descriptor, wait=True)
            yield temporary
            if sys.platform != "win32":
                os.sync()  # one call for all files, of which there may be many thousands
            old = _temporary_name(target, "folder-")
            if target.is_dir():
                target.rename(old)
            try:
                temporary.rename(target)
            except BaseException:
                if old.is_dir():
                    old.rename(target)
                raise
            shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        if descriptor is not None:
            os.close(descriptor)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` durable."""
    if sys.platform == "win32":  # a folder cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def reclaim(folder: str | os.PathLike[str]) -> None:
    """Delete the temporary files and folders in `folder` whose writers have died.

    A writer holds a lock on its temporary file, which the system releases when the process ends. A file that is locked
    is left alone, and so is every file whose name `atomic_path` does not make. On Windows, nothing is deleted.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / ".a.npy.h2q-0123456789abcdef.tmp").touch()
    >>> (folder / ".a.npy.tmp").touch()
    >>> reclaim(folder)
    >>> [file.name for file in folder.iterdir()]
    ['.a.npy.tmp']
    """
    with os.scandir(folder) as entries:
        matches = [(entry, _TEMPORARY.fullmatch(entry.name)) for entry in entries]
        abandoned = [entry.path for entry, match in matches if match and entry.is_dir() == bool(match[1])]
    for path in abandoned:
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                if not _lock(descriptor, wait=False):
                    continue
                if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                    shutil.rmtree(path)
                else:
                    os.unlink(path)
            finally:
                os.close(descriptor)


def _temporary_name(target: Path, kind: str = "") -> Path:
    return target.parent / f".{target.name[:_MAX_NAME]}.h2q-{kind}{secrets.token_hex(8)}.tmp"


def _create_temporary(target: Path) -> tuple[int | None, Path]:
    """Create a temporary file beside `target`; return the descriptor that holds its lock, and its path."""
    while True:
        temporary = _temporary_name(target)
        try:
            descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            continue
        except PermissionError as error:
            raise PermissionError(f"cannot write {target}: no permission to create files in {target.parent}") from error
        if sys.platform == "win32":  # an open file cannot be renamed there
            os.close(descriptor)
            return None, temporary
        _lock(descriptor, wait=True)
        # Another process may have reclaimed the file before it was locked.
        if temporary.exists():
            return descriptor, temporary
        os.close(descriptor)


def _lock(descriptor: int, *, wait: bool) -> bool:
    """Lock an open file until it is closed; return whether that succeeded."""
    if sys.platform == "win32":
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # locked by another writer, or on a file system without locks
        return False
    return True


@contextmanager
def _naming(target: Path) -> Iterator[None]:
    """Make errors of a missing folder and of a full disk name the file, and say what to do."""
    try:
        yield
    except FileNotFoundError as error:
        if target.parent.is_dir():
            raise
        raise FileNotFoundError(f"cannot write {target}: the folder {target.parent} does not exist") from error
    except OSError as error:
        if error.errno not in _FULL or isinstance(error, DiskFullError):
            raise
        raise DiskFullError(
            f"cannot write {target}: {error.strerror}; free some space, or write to another disk, and run it again",
            error.errno,
        ) from error
