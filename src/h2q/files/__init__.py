"""Every byte on disk: files that h2q writes, and arrays in other people's files.

An array is given as ``path``, or ``path:name`` if the file holds several arrays or columns.

Files are written to a temporary name, synced and renamed (`atomic_path`). Those that h2q reads again carry checksums:
safetensors (`write_tensors`) and JSON (`write_checked_json`).
"""

from h2q.files.arrays import list_arrays, open_array, split_name
from h2q.files.atomic import atomic_folder, atomic_path, reclaim, sync_folder
from h2q.files.json_files import (
    decode_json,
    encode_checked_json,
    read_checked_json,
    read_json,
    write_checked_json,
    write_json,
)
from h2q.files.numpy_files import write_npy, write_npz
from h2q.files.parquet import read_columns
from h2q.files.stored import StoredArray
from h2q.files.tensors import (
    BLOCKS_SUFFIX,
    FORMAT_VERSION,
    StoredTensors,
    check_format_version,
    read_tensors,
    verify_tensors,
    write_tensors,
)

__all__ = [
    "BLOCKS_SUFFIX",
    "FORMAT_VERSION",
    "StoredArray",
    "StoredTensors",
    "atomic_folder",
    "atomic_path",
    "check_format_version",
    "decode_json",
    "encode_checked_json",
    "list_arrays",
    "open_array",
    "read_checked_json",
    "read_columns",
    "read_json",
    "read_tensors",
    "reclaim",
    "split_name",
    "sync_folder",
    "verify_tensors",
    "write_checked_json",
    "write_json",
    "write_npy",
    "write_npz",
    "write_tensors",
]
