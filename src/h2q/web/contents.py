"""The items of a served index: embeddings, pictures or texts; how they are shown, and how queries are embedded."""

import datetime
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from h2q import __version__
from h2q.index import BinaryIndex
from h2q.web.pictures import read_inside
from h2q.web.searching import shown_columns
from h2q.web.settings import Refusal

if TYPE_CHECKING:
    from PIL.Image import Image

    from h2q.collections import PictureCollection, TextCollection
    from h2q.similarity.backbones import Backbone

__all__ = ["Contents", "PictureContents", "TextContents", "open_contents"]


class Contents:
    """An index of embeddings or codes, and the base class for items with pictures or texts.

    A subclass names the queries that it embeds in `accepts`, and overrides the methods for what its items have. Methods
    must be safe to call from several threads.

    Parameters
    ----------
    index : BinaryIndex
        The index.
    name : str
        Title of the page.

    Attributes
    ----------
    kind : {"embeddings", "pictures", "texts"}
        Kind of the items.
    accepts : tuple of str
        Queries that are embedded: "image", "text", both or neither.

    Examples
    --------
    >>> Contents(BinaryIndex(64), "codes alone").ways()
    ['code', 'id']
    """

    kind: str = "embeddings"
    accepts: tuple[str, ...] = ()

    def __init__(self, index: BinaryIndex, name: str) -> None:
        self.index, self.name = index, name

    def describe(self) -> dict[str, Any]:
        """Return what the page shows of the index, on a server and on a static site."""
        quantizer = self.index.quantizer
        lengths = getattr(quantizer, "lengths_", None)
        return {
            "version": __version__,
            "name": self.name,
            "kind": self.kind,
            "items": len(self.index),
            "n_bits": self.index.n_bits,
            "lengths": None if lengths is None else list(lengths),
            "quantizer": None if quantizer is None else type(quantizer).__name__,
            "columns": [{"name": name, "type": kind} for name, kind in shown_columns(self.index).items()],
        }

    def warm_up(self) -> None:
        """Load the index and the model before the first request."""
        self.index.warm_up()

    def prepare_thread(self) -> None:
        """Prepare a thread that will embed queries."""

    def embed_image(self, image: "Image") -> NDArray[np.float32]:
        """Return the embedding of an RGB image, shape (1, d)."""
        raise Refusal(400, f"this index holds {self.kind} and no image model; search by one of: {self._ways()}")

    def embed_text(self, text: str) -> NDArray[np.float32]:
        """Return the embedding of a text, shape (1, d)."""
        raise Refusal(400, f"this index holds {self.kind} and no text model; search by one of: {self._ways()}")

    def describe_image(self, image: "Image", n_bytes: int) -> dict[str, Any] | None:
        """Return the metadata of an added image whose file has `n_bytes`; None: no metadata."""
        return None

    def picture(self, item: str | int) -> bytes:
        """Return the bytes of an item's picture; the item is in the index."""
        raise Refusal(404, f"this index holds {self.kind}: its items have no pictures")

    def text(self, item: str | int) -> str:
        """Return an item's text; the item is in the index."""
        raise Refusal(404, f"this index holds {self.kind}: its items have no texts")

    def ways(self) -> list[str]:
        """Return the kinds of queries."""
        own = ["embedding"] if self.index.quantizer is not None else []
        return [*self.accepts, *own, "code", "id"]

    def _ways(self) -> str:
        return ", ".join(self.ways())


class PictureContents(Contents):
    """A folder of pictures that ``h2q images index`` indexed.

    Parameters
    ----------
    collection : PictureCollection
        With an index.
    name : str
        Name that is shown.
    """

    kind = "pictures"
    accepts = ("image",)

    def __init__(self, collection: "PictureCollection", name: str) -> None:
        super().__init__(collection.opened_index(), name)
        self._collection = collection

    @property
    def backbone(self) -> "Backbone | None":
        """The backbone that embeds the pictures; None: another kind of model does."""
        return self._collection.network

    def warm_up(self) -> None:
        """Load the index, and run the network once."""
        from PIL import Image

        super().warm_up()
        self.embed_image(Image.new("RGB", (32, 32)))

    def prepare_thread(self) -> None:
        """Limit PyTorch to one core a thread, so that queries are embedded side by side."""
        _use_one_core()

    def embed_image(self, image: "Image") -> NDArray[np.float32]:
        """Return the features of an image."""
        return self._collection.embed(image)

    def describe_image(self, image: "Image", n_bytes: int) -> dict[str, Any]:
        """Return the metadata that the collection has for its pictures."""
        modified = datetime.datetime.now(datetime.UTC)
        return {"size": n_bytes, "modified": modified, "width": image.width, "height": image.height}

    def picture(self, item: str | int) -> bytes:
        """Return the bytes of the file, which must still be in the folder."""
        return read_inside(self._collection.folder, str(item))


class TextContents(Contents):
    """The texts of a file that ``h2q texts index`` indexed.

    Parameters
    ----------
    collection : TextCollection
        With an index.
    name : str
        Name that is shown.
    """

    kind = "texts"
    accepts = ("text",)

    def __init__(self, collection: "TextCollection", name: str) -> None:
        super().__init__(collection.opened_index(), name)
        self._collection, self._lock = collection, threading.Lock()

    def warm_up(self) -> None:
        """Load the index, and run the model once."""
        super().warm_up()
        self.embed_text("text")

    def prepare_thread(self) -> None:
        """Limit PyTorch to one core, and leave the others to searches."""
        _use_one_core()

    def embed_text(self, text: str) -> NDArray[np.float32]:
        """Return the embedding of a text."""
        if not text.strip():
            raise Refusal(400, "text must not be empty")
        with self._lock:  # tokenizers are not thread-safe
            return self._collection.embed(text)

    def text(self, item: str | int) -> str:
        """Return the text that the index holds."""
        return str(self.index.metadata([item], [self._collection.column])[0][0])


def _use_one_core() -> None:
    import torch

    torch.set_num_threads(1)


def open_contents(path: Path) -> Contents:
    """Open a collection of pictures or texts, or the folder of an index, to serve it.

    Parameters
    ----------
    path : path
        What ``h2q images index``, ``h2q texts index`` or ``h2q index build`` wrote.

    Raises
    ------
    FileNotFoundError, FileFormatError
        If it is none of these.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> BinaryIndex(8).save(folder)
    >>> open_contents(Path(folder)).ways()
    ['code', 'id']
    """
    from h2q.collections import PictureCollection, collection_class

    name, kind = path.resolve().name, collection_class(path)
    if kind is None:
        return Contents(BinaryIndex.open(path), name)
    collection = kind.open(path)
    if isinstance(collection, PictureCollection):
        return PictureContents(collection, name)
    return TextContents(collection, name)
