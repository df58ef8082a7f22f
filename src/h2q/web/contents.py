"""What the items of a served index are: embeddings, pictures, or what another class knows to show and embed."""

import datetime
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from h2q.index import BinaryIndex
from h2q.web.pictures import read_inside
from h2q.web.settings import Refusal

if TYPE_CHECKING:
    from PIL.Image import Image

    from h2q.collections import PictureCollection, TextCollection
    from h2q.similarity.backbones import Backbone

__all__ = ["Contents", "PictureContents", "TextContents", "open_contents"]


class Contents:
    """An index of embeddings or codes alone; the base of classes whose items are something that people see.

    A subclass says what it embeds in `accepts`, and overrides the methods of what it has. All of them may be called
    from several threads.

    Parameters
    ----------
    index : BinaryIndex
        The index.
    name : str
        Name that is shown.

    Attributes
    ----------
    kind : {"embeddings", "pictures", "texts"}
        What the items are.
    accepts : tuple of str
        "image" and "text", where queries may be these.

    Examples
    --------
    >>> Contents(BinaryIndex(64), "codes alone").ways()
    ['code', 'id']
    """

    kind: str = "embeddings"
    accepts: tuple[str, ...] = ()

    def __init__(self, index: BinaryIndex, name: str) -> None:
        self.index, self.name = index, name

    def warm_up(self) -> None:
        """Load what the first request would otherwise wait for."""
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
        """Return the metadata of an image that is added, of so many bytes; None: it has none."""
        return None

    def picture(self, item: str | int) -> bytes:
        """Return the bytes of an item's picture; the item is in the index."""
        raise Refusal(404, f"this index holds {self.kind}: its items have no pictures")

    def text(self, item: str | int) -> str:
        """Return an item's text; the item is in the index."""
        raise Refusal(404, f"this index holds {self.kind}: its items have no texts")

    def ways(self) -> list[str]:
        """Return what queries may be."""
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
    def backbone(self) -> "Backbone":
        """The network that embeds the pictures."""
        return self._collection.network

    def warm_up(self) -> None:
        """Run the network once, too."""
        from PIL import Image

        super().warm_up()
        self.embed_image(Image.new("RGB", (32, 32)))

    def prepare_thread(self) -> None:
        """Let the network use one core for each query, so that several queries do not wait for each other."""
        _use_one_core()

    def embed_image(self, image: "Image") -> NDArray[np.float32]:
        """Return the features of an image."""
        return self._collection.embed(image)

    def describe_image(self, image: "Image", n_bytes: int) -> dict[str, Any]:
        """Return what the collection knows of each of its pictures."""
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
        """Run the model once, too."""
        super().warm_up()
        self.embed_text("text")

    def prepare_thread(self) -> None:
        """Let the model use one core, and leave the others to searches."""
        _use_one_core()

    def embed_text(self, text: str) -> NDArray[np.float32]:
        """Return the embedding of a text."""
        if not text.strip():
            raise Refusal(400, "text must not be empty")
        with self._lock:  # tokenizers are not for several threads
            return self._collection.embed(text)

    def text(self, item: str | int) -> str:
        """Return the text that the index holds."""
        return str(self.index.metadata([item], [self._collection.column])[0][0])


def _use_one_core() -> None:
    import torch

    torch.set_num_threads(1)


def open_contents(path: Path) -> Contents:
    """Open what is to be served: a collection of pictures or texts, or the folder of an index.

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
    from h2q.collections import PictureCollection, TextCollection

    name = path.resolve().name
    if (path / f"{PictureCollection.kind}.json").exists():
        return PictureContents(PictureCollection.open(path), name)
    if (path / f"{TextCollection.kind}.json").exists():
        return TextContents(TextCollection.open(path), name)
    return Contents(BinaryIndex.open(path), name)
