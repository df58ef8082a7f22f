"""What a learned rotation changes: the same search by the plain signs of the same embeddings."""

import threading
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.index import BinaryIndex
from h2q.quantization import SignQuantizer
from h2q.web.searching import Options, run_search
from h2q.web.settings import Refusal

__all__ = ["SignCodes", "sign_quantizer"]

_ROWS = 4_096
_FIT_ROWS = 20_000


class SignCodes:
    """Codes of an index's embeddings by plain signs; computed at the first search, and again after a change of items.

    The embeddings are centered, reduced and whitened as those of the index's own quantizer are; the rotation alone
    is missing.

    Parameters
    ----------
    index : BinaryIndex
        One that keeps its embeddings.
    """

    def __init__(self, index: BinaryIndex) -> None:
        self._index, self._lock = index, threading.Lock()
        self._signs: BinaryIndex | None = None

    def forget(self) -> None:
        """Discard the codes after a change of items; the next search computes them again."""
        with self._lock:
            self._signs = None

    def search(self, query: NDArray[Any], options: Options, embed_seconds: float) -> dict[str, Any]:
        """Search by both kinds of codes. Re-ranking is replaced by Hamming scoring: it would hide the difference.

        Raises
        ------
        Refusal
            If the index keeps no embeddings, or the query has none.
        """
        if not self._index.keeps_embeddings:
            raise Refusal(400, "this index keeps no embeddings, which plain signs would be made of")
        if query.dtype == np.uint8:
            raise Refusal(400, "a code has no plain signs; search by an id, an embedding, or what the index embeds")
        if options.scoring != "asymmetric":
            options = replace(options, scoring="hamming")
        learned = run_search(self._index, query, options, embed_seconds)
        return {"sign": run_search(self._made(), query, options, embed_seconds), "learned": learned}

    def _made(self) -> BinaryIndex:
        with self._lock:
            if self._signs is None:
                self._signs = _sign_index(self._index)
            return self._signs


def sign_quantizer(index: BinaryIndex) -> SignQuantizer:
    """Return plain signs, fitted to the embeddings of an index that keeps them."""
    own, ids = index.quantizer, index.ids
    center, whitening = bool(getattr(own, "center", True)), float(getattr(own, "whitening_", 0.0))
    sample = ids
    if len(ids) > _FIT_ROWS:
        sample = ids[np.sort(np.random.default_rng(0).choice(len(ids), _FIT_ROWS, replace=False))]
    quantizer = SignQuantizer(index.n_bits, center=center, whitening=whitening, random_state=0)
    return quantizer.fit(index.embeddings(sample))


def _sign_index(index: BinaryIndex) -> BinaryIndex:
    """Return an index of the same items by plain signs."""
    ids, quantizer = index.ids, sign_quantizer(index)
    signs = BinaryIndex(quantizer=quantizer, metric=index.metric)
    for start in range(0, len(ids), _ROWS):
        part = ids[start : start + _ROWS]
        metadata = None if index.metadata_schema is None else index.metadata(part)
        signs.add(index.embeddings(part), part, metadata)
    signs.warm_up()
    return signs
