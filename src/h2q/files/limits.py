"""How far a compressed file may expand in memory."""

from pathlib import Path

from h2q.errors import FileFormatError

__all__ = ["check_expansion"]

_ALWAYS_BYTES, _FACTOR = 48_000_000, 100


def check_expansion(path: Path, name: str, n_bytes: int) -> None:
    """Refuse an array that a small file expands to many times its size.

    Embeddings hardly compress. An array of more than 48 MB that is more than a hundred times as large as its file is
    taken for an attack, or a mistake.

    Parameters
    ----------
    path : Path
        The file.
    name : str
        The array, for the error.
    n_bytes : int
        Bytes of the array in memory.

    Raises
    ------
    FileFormatError
        If the array is too large.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "x.npz"
    >>> path.touch()
    >>> check_expansion(path, "x", 40_000_000)
    >>> check_expansion(path, "x", 4_000_000_000)
    Traceback (most recent call last):
    ...
    h2q.errors.FileFormatError: ...x.npz: x takes 4,000 MB in memory, and the whole file 0.0 MB; if that is right,
    convert it to .npy
    """
    size = path.stat().st_size
    if n_bytes > _ALWAYS_BYTES + _FACTOR * size:
        raise FileFormatError(
            f"{path}: {name} takes {n_bytes / 1e6:,.0f} MB in memory, and the whole file {size / 1e6:,.1f} MB; if that "
            "is right, convert it to .npy"
        )
