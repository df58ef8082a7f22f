"""Every byte on disk: files that h2q writes, and arrays in other people's files.

An array is given as ``path``, or ``path:name`` where the file holds several arrays or columns.
"""

from h2q.files.arrays import list_arrays, open_array, split_name
from h2q.files.stored import StoredArray
from h2q.files.writing import write_npy, write_npz

__all__ = ["StoredArray", "list_arrays", "open_array", "split_name", "write_npy", "write_npz"]
