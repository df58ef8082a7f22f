"""Arrays in other people's files: .npy, .npz, .safetensors and .parquet, memory-mapped or in chunks.

A file is given as ``path``, or ``path:name`` where it holds several arrays or columns.
"""

from h2q.io.files import list_arrays, open_array, split_name
from h2q.io.stored import StoredArray
from h2q.io.writing import write_npy, write_npz

__all__ = ["StoredArray", "list_arrays", "open_array", "split_name", "write_npy", "write_npz"]
