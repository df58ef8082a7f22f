"""The manifest of an index folder: which files belong to the index, and what they must hold."""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from h2q._version import __version__
from h2q.errors import FileFormatError, describe
from h2q.files import FORMAT_VERSION, check_format_version

__all__ = ["PART_NAME", "Manifest", "PartFile", "QuantizerFile", "SegmentFile"]

KIND = "BinaryIndex"
# The names of the files of an index, exactly: nothing else is ever deleted.
PART_NAME = re.compile(r"(segment|removed|quantizer)-[0-9a-f]{16}\.safetensors")


@dataclass(frozen=True)
class PartFile:
    """A file of an index.

    Attributes
    ----------
    file : str
        Its name in the folder.
    seal : str
        Checksum of its header, which holds the checksums of its content.
    """

    file: str
    seal: str


@dataclass(frozen=True)
class SegmentFile(PartFile):
    """The file of a segment.

    Attributes
    ----------
    rows : int
        Number of items, removed ones included.
    first_id, last_id : int
        Lowest and highest id.
    """

    rows: int
    first_id: int
    last_id: int


@dataclass(frozen=True)
class QuantizerFile(PartFile):
    """The file of the quantizer.

    Attributes
    ----------
    fingerprint : str
        Names the quantizer; see `h2q.quantization.base.BaseQuantizer.fingerprint`.
    """

    fingerprint: str


@dataclass(frozen=True)
class Manifest:
    """What an index folder holds.

    Attributes
    ----------
    uid : str
        Names the index; another index that replaces it in its folder has another one.
    generation : str
        Changes with every save.
    n_bits : int
        Bits of a code.
    items : int
        Number of items that were not removed.
    next_id : int
        Id of the next item that is added without one.
    options : dict
        Options of the index.
    segments : tuple of SegmentFile
        Files with the items.
    removed : PartFile or None
        File with the removed rows of each segment.
    quantizer : QuantizerFile or None
        File of the quantizer.
    id_type : str or None
        Kind of the ids, "integer" or "string".
    schema : str or None
        Metadata columns: a schema as Arrow serializes it, in base64.
    """

    uid: str
    generation: str
    n_bits: int
    items: int
    next_id: int
    options: dict[str, Any]
    segments: tuple[SegmentFile, ...]
    removed: PartFile | None
    quantizer: QuantizerFile | None
    id_type: str | None = None
    schema: str | None = None

    @property
    def files(self) -> set[str]:
        """Names of all files that the manifest names."""
        return {part.file for part in (*self.segments, self.removed, self.quantizer) if part is not None}

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as JSON can hold it."""
        return {"kind": KIND, "format_version": FORMAT_VERSION, "h2q_version": __version__, **asdict(self)}

    @classmethod
    def from_json(cls, document: Any, path: Path) -> "Manifest":
        """Return the manifest that a JSON document holds; `path` is the file, for errors.

        Raises
        ------
        FileFormatError
            If it is not the manifest of an index, incomplete, or from a newer version of h2q.
        """
        folder = path.parent
        if not isinstance(document, dict) or document.get("kind") != KIND:
            raise FileFormatError(f"{folder} is not an index of h2q: its {path.name} is of another kind")
        check_format_version(document, folder)
        document = {"id_type": None, "schema": None} | document  # older manifests have neither
        for key, kinds in _ENTRIES.items():
            if key not in document:
                raise FileFormatError(f"{path} is incomplete: it has no {key}")
            if not isinstance(document[key], kinds) or isinstance(document[key], bool):
                raise FileFormatError(f"{path} is damaged: its {key} is {describe(document[key])}")
        try:
            segments = tuple(SegmentFile(**entry) for entry in document["segments"])
            removed = None if document["removed"] is None else PartFile(**document["removed"])
            quantizer = None if document["quantizer"] is None else QuantizerFile(**document["quantizer"])
        except TypeError as error:
            raise FileFormatError(f"{path} is damaged: it does not describe its files: {error}") from error
        manifest = cls(**{key: document[key] for key in _ENTRIES} | {
            "segments": segments, "removed": removed, "quantizer": quantizer
        })  # fmt: skip
        names = [part.file for part in (*segments, removed, quantizer) if part is not None]
        if not all(isinstance(name, str) and PART_NAME.fullmatch(name) for name in names):
            raise FileFormatError(f"{path} is damaged: it names files that are not of an index")
        if len(set(names)) < len(names):
            raise FileFormatError(f"{path} is damaged: it names a file twice")
        return manifest


_PART = (dict, type(None))
_ENTRIES: dict[str, type | tuple[type, ...]] = {
    "uid": str, "generation": str, "n_bits": int, "items": int, "next_id": int, "options": dict, "segments": list,
    "removed": _PART, "quantizer": _PART, "id_type": (str, type(None)), "schema": (str, type(None)),
}  # fmt: skip
