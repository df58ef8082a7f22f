"""An index on disk: items are added and removed, and only what is new is written.

python examples/growing_index.py [FOLDER]
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

import h2q


def main(folder: Path) -> h2q.Neighbors:
    """Return the three nearest items of five queries."""
    pixels = load_digits().data.astype(np.float32)
    embeddings = pixels[:, pixels.std(axis=0) > 0]
    quantizer = h2q.HouseholderQuantizer(48, random_state=0).fit(embeddings[:1000])

    index = h2q.BinaryIndex(quantizer=quantizer)
    index.add(embeddings[:1000], ids=np.arange(1000) + 5000)
    index.save(folder)

    # Later, perhaps in another process: only what is new is written.
    index = h2q.BinaryIndex.open(folder)
    index.add(embeddings[1000:], ids=np.arange(1000, len(embeddings)) + 5000)
    index.remove([5000, 5001])
    index.save(folder)

    index = h2q.BinaryIndex.open(folder)
    neighbors = index.search(embeddings[:5], k=3)
    print(index)
    print(neighbors)
    return neighbors


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary) / "index")
