"""Ids as people have them, whole numbers or strings, and the numbers under which segments hold the items.

A whole number is its own number. The number of a string is a hash of 60 bits and, in three bits, a slot that tells
strings of one hash apart. So items are sorted by number, found by binary search, and merged alike, whatever the ids
are; and the order of the strings' numbers is the same in every process and every index without collisions.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.checks import as_ids
from h2q.errors import describe
from h2q.index.segments import Segment, find_ids
from h2q.index.tables import ID

__all__ = [
    "INTEGER",
    "MAX_ID",
    "STRING",
    "bucket_of",
    "check_ids",
    "check_utf8",
    "fit_strings",
    "id_array",
    "kind_of",
    "missing_ids",
    "new_integers",
    "new_numbers",
    "numbers_of",
    "strings_of",
    "taken_ids",
    "values_in_order",
]

INTEGER, STRING = "integer", "string"
MAX_ID = 2**63 - 1
_SLOTS = 8


def kind_of(ids: NDArray[Any]) -> str:
    """Return the kind of ids that `check_ids` returned."""
    return STRING if ids.dtype == object else INTEGER


def check_ids(ids: Any, n: int | None, kind: str | None, name: str = "ids") -> NDArray[Any]:
    """Return ids as int64, or as strings in an array of objects, of shape (n,); all different.

    Parameters
    ----------
    ids : array-like of int or str
        NumPy, Arrow, pandas or a list.
    n : int, optional
        Number that there must be.
    kind : {"integer", "string"}, optional
        Kind that they must be of; None: either.
    name : str
        Name of the argument, for errors.

    Raises
    ------
    TypeError
        If they are neither, or not of this kind.
    ValueError
        If they are not 1-D, not `n`, out of range, empty strings, or one is given twice.

    Examples
    --------
    >>> check_ids(["a", "b"], 2, None)
    array(['a', 'b'], dtype=object)
    >>> check_ids(["a"], 1, "integer")
    Traceback (most recent call last):
    ...
    TypeError: ids are strings, but those of this index are whole numbers
    """
    texts = _as_texts(ids)
    given = INTEGER if texts is None else STRING
    if kind is not None and kind != given and len(ids):
        words = {INTEGER: "whole numbers", STRING: "strings"}
        raise TypeError(f"{name} are {words[given]}, but those of this index are {words[kind]}")
    return as_ids(ids, n, name) if texts is None else _check_texts(texts, n, name)


def _as_texts(ids: Any) -> NDArray[Any] | None:
    """Return ids as an array of objects if the first of them is a string."""
    if hasattr(ids, "to_pylist"):
        ids = ids.to_pylist()
    array = ids if isinstance(ids, np.ndarray) else None
    if array is None and hasattr(ids, "to_numpy"):
        array = ids.to_numpy()
    if array is None and isinstance(ids, (list, tuple)) and len(ids) and isinstance(ids[0], str):
        array = np.empty(len(ids), object)
        array[:] = ids
    if array is None or array.ndim != 1 or not len(array) or not isinstance(array[0], str):
        return None
    return array.astype(object)


def _check_texts(texts: NDArray[Any], n: int | None, name: str) -> NDArray[Any]:
    if n is not None and len(texts) != n:
        raise ValueError(f"{name} must be 1-D with {n} entries, one an item; got shape {texts.shape}")
    known: set[str] = set()
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"{name} must be all strings or all whole numbers; row {row} is {describe(text)}")
        if not text:
            raise ValueError(f"{name} has an empty string in row {row}; every item needs an id of its own")
        known.add(text)
    if len(known) < len(texts):
        unique, counts = np.unique(texts, return_counts=True)
        twice = unique[counts > 1]
        raise ValueError(
            f"{name} holds {len(twice)} id(s) more than once (first: {twice[0]!r}); every item needs an id of its own"
        )
    return texts


def check_utf8(strings: NDArray[Any]) -> list[bytes]:
    """Return strings in UTF-8.

    Raises
    ------
    ValueError
        If a string has no UTF-8 (half of a surrogate pair).

    Examples
    --------
    >>> check_utf8(np.array(["cat"], object))
    [b'cat']
    """
    try:
        return [string.encode() for string in strings.tolist()]
    except UnicodeEncodeError as error:
        raise ValueError(f"ids holds {error.object!r}, which is no text in UTF-8") from error


def new_integers(n: int, next_id: int, kind: str | None) -> NDArray[np.int64]:
    """Return ids for items that are added without, or say why there are none.

    Raises
    ------
    ValueError
        If the ids of the index are strings, or no number is left.

    Examples
    --------
    >>> new_integers(2, 7, None)
    array([7, 8])
    """
    if kind == STRING:
        raise ValueError("ids are missing: those of this index are strings, which cannot be counted on")
    if next_id + n > MAX_ID:
        raise ValueError(f"there are no ids left after {next_id - 1}: give ids")
    return np.arange(next_id, next_id + n)


def id_array(ids: Sequence[int] | Sequence[str]) -> NDArray[Any]:
    """Return ids, checked before, as an array: int64, or objects where they are strings.

    Examples
    --------
    >>> id_array(["a", "b"]), id_array([])
    (array(['a', 'b'], dtype=object), array([], dtype=int64))
    """
    return np.array(ids, object if len(ids) and isinstance(ids[0], str) else np.int64)


def taken_ids(taken: NDArray[Any]) -> ValueError:
    """Return the error about new items whose ids are taken."""
    return ValueError(
        f"ids holds {len(taken)} id(s) that the index already has (first: {taken.tolist()[0]!r}); choose other ids, or "
        "replace these items with upsert"
    )


def missing_ids(missing: NDArray[Any], n: int, consequence: str = "") -> ValueError:
    """Return the error about ids, of `n` that were given, that no item has."""
    return ValueError(f"{len(missing)} of {n} ids are not in the index (first: {missing.tolist()[0]!r}){consequence}")


def values_in_order(values: Mapping[Any, Any], ids: NDArray[Any]) -> list[Any]:
    """Return the value of each id, in the order of the ids.

    Raises
    ------
    ValueError
        If an id has none.

    Examples
    --------
    >>> values_in_order({3: "c", 1: "a"}, np.array([1, 3]))
    ['a', 'c']
    """
    wanted = ids.tolist()
    missing = np.array([item not in values for item in wanted], np.bool_)
    if missing.any():
        raise missing_ids(ids[missing], len(ids))
    return [values[item] for item in wanted]


def bucket_of(strings: NDArray[Any]) -> NDArray[np.int64]:
    """Return the lowest number that each string may have: XXH3 of its UTF-8, the highest 60 bits of 64, times 8.

    Raises
    ------
    ValueError
        If a string has no UTF-8 (half of a surrogate pair).

    Examples
    --------
    >>> bucket_of(np.array(["cat", "dog"], object)) % 8
    array([0, 0])
    """
    from xxhash import xxh3_64_intdigest

    hashes = [xxh3_64_intdigest(content) for content in check_utf8(strings)]
    return (np.array(hashes, np.uint64) >> np.uint64(4) << np.uint64(3)).astype(np.int64)


def numbers_of(segments: Sequence[Segment], strings: NDArray[Any]) -> NDArray[np.int64]:
    """Return the number of the item with each string as its id, or -1 where there is none."""
    numbers = np.full(len(strings), -1, np.int64)
    buckets = bucket_of(strings)
    for segment in segments:
        rows = np.searchsorted(segment.ids, buckets)
        pending = np.arange(len(strings))
        while True:
            pending = pending[rows[pending] < segment.n_rows]
            pending = pending[segment.ids[rows[pending]] - buckets[pending] < _SLOTS]
            if not len(pending):
                break
            here = segment.strings(rows[pending]) == strings[pending]
            living = here if segment.alive is None else here & segment.alive[rows[pending]]
            numbers[pending[living]] = segment.ids[rows[pending[living]]]
            rows[pending] += 1
            pending = pending[~here]
    return numbers


def new_numbers(segments: Sequence[Segment], strings: NDArray[Any]) -> NDArray[np.int64]:
    """Return a number for each string: that of its item, or a free one in its bucket."""
    numbers = numbers_of(segments, strings)
    is_new = numbers < 0
    numbers[is_new] = bucket_of(strings[is_new])
    while True:
        # Of equal numbers, those of items that are there already come first, and are not changed.
        order = np.lexsort((is_new, numbers))
        clashes = np.zeros(len(numbers), np.bool_)
        clashes[order[1:][np.diff(numbers[order]) == 0]] = True
        clashes[is_new] |= find_ids(segments, numbers[is_new])
        clashing = np.flatnonzero(clashes)
        if not len(clashing):
            return numbers
        if (numbers[clashing] % _SLOTS == _SLOTS - 1).any():
            break
        numbers[clashing] += 1
    raise ValueError(f"ids holds {strings[clashing[0]]!r}, whose hash {_SLOTS} other ids have; choose another id")


def fit_strings(numbers: NDArray[np.int64], table: Any) -> bool:
    """Return whether the string ids of a `pyarrow.Table`, if it has them, may have these numbers."""
    if ID not in table.column_names:
        return True
    strings = np.asarray(table[ID].to_numpy(), object)
    return bool((bucket_of(strings) == numbers - numbers % _SLOTS).all())


def strings_of(segments: Sequence[Segment], numbers: NDArray[np.int64]) -> NDArray[Any]:
    """Return the string ids of items by their numbers; all must be there."""
    strings = np.empty(len(numbers), object)
    for segment in segments:
        rows = segment.find(numbers)
        here = rows >= 0
        if here.any():
            strings[here] = segment.strings(rows[here])
    return strings
