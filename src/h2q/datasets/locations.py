"""Where images are looked for, and where what was computed from them is kept."""

import os
from pathlib import Path

__all__ = ["cache_folder", "data_folder", "find_data", "search_folders"]


def checkout() -> Path | None:
    """Return the root of the source checkout that this package runs from; None where it is installed."""
    root = Path(__file__).resolve().parents[3]
    return root if (root / "pyproject.toml").is_file() and (root / "src" / "h2q").is_dir() else None


def search_folders() -> tuple[Path, ...]:
    """Return the folders in which data is looked for, in order.

    ``H2Q_DATA`` alone where it is set. Otherwise ``~/.cache/h2q`` and, in a source checkout, ``../shared/data`` beside
    it and its own ``data`` with a sample of CIFAR-10; folders that do not exist are left out.

    Raises
    ------
    FileNotFoundError
        If ``H2Q_DATA`` names a folder that does not exist.

    Examples
    --------
    >>> all(folder.is_dir() for folder in search_folders())
    True
    """
    named = os.environ.get("H2Q_DATA")
    if named:
        folder = Path(named).expanduser()
        if not folder.is_dir():
            raise FileNotFoundError(
                f"H2Q_DATA names {folder}, which is not a folder; correct it, or unset it to use ~/.cache/h2q"
            )
        return (folder,)
    candidates = [Path.home() / ".cache" / "h2q"]
    root = checkout()
    if root is not None:
        candidates += [root.parent / "shared" / "data", root / "data"]
    return tuple(folder for folder in candidates if folder.is_dir())


def data_folder() -> Path:
    """Return the folder that data sets are kept in: where users put them, and where downloads go.

    ``H2Q_DATA`` if set; in a source checkout ``../shared/data`` beside it where that exists; else ``~/.cache/h2q``,
    which need not exist yet.

    Raises
    ------
    FileNotFoundError
        If ``H2Q_DATA`` names a folder that does not exist.

    Examples
    --------
    >>> data_folder().name in {"data", "h2q"} or "H2Q_DATA" in os.environ
    True
    """
    if os.environ.get("H2Q_DATA"):
        return search_folders()[0]
    root = checkout()
    if root is not None and (root.parent / "shared" / "data").is_dir():
        return root.parent / "shared" / "data"
    return Path.home() / ".cache" / "h2q"


def find_data(relative_path: str) -> Path | None:
    """Return the first file or folder of that name in `search_folders`, or None.

    >>> find_data("no such file") is None
    True
    """
    return next((folder / relative_path for folder in search_folders() if (folder / relative_path).exists()), None)


def cache_folder() -> Path:
    """Return the folder for what can be computed again: ``H2Q_CACHE``, or ``~/.cache/h2q``; made if missing.

    Examples
    --------
    >>> cache_folder().is_dir()
    True
    """
    named = os.environ.get("H2Q_CACHE")
    folder = Path(named).expanduser() if named else Path.home() / ".cache" / "h2q"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
