"""Share quantizers through the Hugging Face Hub, with a model card of measured numbers."""

import os
from pathlib import Path
from typing import Any

from sklearn.utils.validation import check_is_fitted

from h2q import __version__
from h2q.checks import as_embeddings
from h2q.errors import require
from h2q.evaluation import float_neighbors, neighbor_recall
from h2q.files import atomic_path
from h2q.index import BinaryIndex
from h2q.quantization import load_quantizer
from h2q.quantization.base import BaseQuantizer

__all__ = ["QUANTIZER_FILE", "from_pretrained", "model_card", "push_to_hub", "save_pretrained"]

QUANTIZER_FILE = "quantizer.safetensors"
_K, _MIN_ROWS = 10, 200


def save_pretrained(
    quantizer: BaseQuantizer, folder: str | os.PathLike[str], *, embeddings: Any = None, trained_on: str | None = None
) -> None:
    """Write a quantizer and its model card to a folder.

    Parameters
    ----------
    quantizer : BaseQuantizer
        A fitted quantizer.
    folder : path
        The folder; made if need be. Other files in it stay as they are.
    embeddings : array-like of shape (n, d), optional
        Embeddings that the quantizer was *not* fitted on; the card states its recall on them. Default: no numbers.
    trained_on : str, optional
        What the quantizer was fitted on, in words, for the card.

    Raises
    ------
    sklearn.exceptions.NotFittedError, TypeError, ValueError
        If the quantizer is not fitted, or the embeddings are not of its width.

    Examples
    --------
    >>> import tempfile, h2q
    >>> from sklearn.datasets import load_digits
    >>> folder = Path(tempfile.mkdtemp())
    >>> save_pretrained(h2q.SignQuantizer(32).fit(load_digits().data), folder, trained_on="handwritten digits")
    >>> sorted(path.name for path in folder.iterdir())
    ['README.md', 'quantizer.safetensors']
    """
    check_is_fitted(quantizer)
    card = model_card(quantizer, embeddings=embeddings, trained_on=trained_on)
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    quantizer.save(target / QUANTIZER_FILE)
    with atomic_path(target / "README.md") as temporary:
        temporary.write_text(card, encoding="utf-8")


def push_to_hub(
    quantizer: BaseQuantizer,
    repo_id: str,
    *,
    embeddings: Any = None,
    trained_on: str | None = None,
    private: bool | None = None,
    token: str | None = None,
) -> str:
    """Upload a quantizer and its model card to the Hugging Face Hub.

    Parameters
    ----------
    quantizer : BaseQuantizer
        A fitted quantizer.
    repo_id : str
        Owner and name of the repository, which is made if need be.
    embeddings, trained_on
        As in `save_pretrained`.
    private : bool, optional
        Whether a repository that is made here is private.
    token : str, optional
        Access token. Default: the one that ``hf auth login`` stored.

    Returns
    -------
    str
        Address of the commit.

    Raises
    ------
    MissingDependencyError
        If huggingface_hub is not installed.
    """
    import tempfile

    hub = require("huggingface_hub", "hub")
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(quantizer, folder, embeddings=embeddings, trained_on=trained_on)
        api = hub.HfApi(token=token)
        repository = api.create_repo(repo_id, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository.repo_id, folder_path=folder, commit_message=f"Quantizer of h2q {__version__}"
        )
    return str(commit.commit_url)


def from_pretrained(
    name_or_folder: str | os.PathLike[str], *, revision: str | None = None, token: str | None = None
) -> BaseQuantizer:
    """Load a quantizer from a folder, or from the Hugging Face Hub.

    Parameters
    ----------
    name_or_folder : str or path
        A folder that `save_pretrained` wrote, or else owner and name of a repository.
    revision : str, optional
        Branch, tag or commit of the repository.
    token : str, optional
        Access token for a private repository.

    Returns
    -------
    BaseQuantizer
        The fitted quantizer. Loading runs no code.

    Raises
    ------
    MissingDependencyError
        If there is no such folder, and huggingface_hub is not installed.
    FileFormatError
        If the file holds no quantizer.

    Examples
    --------
    >>> import tempfile, h2q
    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data
    >>> folder = tempfile.mkdtemp()
    >>> save_pretrained(h2q.HouseholderQuantizer(32, random_state=0).fit(X[:1500]), folder, embeddings=X[1500:])
    >>> from_pretrained(folder)
    HouseholderQuantizer(n_bits=32, random_state=0)
    """
    folder = Path(name_or_folder)
    if folder.is_dir():
        return load_quantizer(folder / QUANTIZER_FILE)
    hub = require("huggingface_hub", "hub")
    return load_quantizer(
        hub.hf_hub_download(os.fspath(name_or_folder), QUANTIZER_FILE, revision=revision, token=token)
    )


def model_card(quantizer: BaseQuantizer, *, embeddings: Any = None, trained_on: str | None = None) -> str:
    """Return the model card of a quantizer, in Markdown.

    Parameters
    ----------
    quantizer, embeddings, trained_on
        As in `save_pretrained`.

    Returns
    -------
    str
        What it is, how to use it, and, with embeddings, recall@10 of the nearest embeddings. A tenth of the embeddings,
        at most 1,000, are queries.

    Examples
    --------
    >>> import h2q
    >>> from sklearn.datasets import load_digits
    >>> card = model_card(h2q.SignQuantizer(32).fit(load_digits().data), trained_on="handwritten digits")
    >>> card.splitlines()[4]
    '# SignQuantizer, 64 dimensions to 32 bits'
    """
    name = type(quantizer).__name__
    bytes_per_item = (quantizer.n_bits_ + 7) // 8 + (quantizer.scalar_tables() is not None)
    lines = [
        "---",
        "library_name: h2q",
        "tags: [binary-codes, quantization, similarity-search]",
        "---",
        f"# {name}, {quantizer.n_features_in_} dimensions to {quantizer.n_bits_} bits",
        "",
        f"Turns embeddings of {quantizer.n_features_in_} dimensions ({4 * quantizer.n_features_in_} bytes as float32) "
        f"into binary codes: {bytes_per_item} bytes an item.",
    ]
    if trained_on is not None:
        lines += ["", f"Fitted on {trained_on}."]
    lines += [
        "",
        "```python",
        "import h2q",
        "from h2q.integrations.huggingface import from_pretrained",
        "",
        'quantizer = from_pretrained("...")  # the name of this repository',
        "index = h2q.BinaryIndex(quantizer=quantizer)",
        "index.add(embeddings)",
        "neighbors = index.search(queries, k=10)",
        "```",
    ]
    if embeddings is not None:
        lines += ["", *_measured_recall(quantizer, embeddings)]
    lines += ["", f"Parameters: `{quantizer!r}`. Written by h2q {__version__}."]
    return "\n".join(lines) + "\n"


def _measured_recall(quantizer: BaseQuantizer, embeddings: Any) -> list[str]:
    """Return the lines of the card that state recall on held-out embeddings."""
    rows = as_embeddings(embeddings, "embeddings", n_features=quantizer.n_features_in_)
    if len(rows) < _MIN_ROWS:
        raise ValueError(f"embeddings must have at least {_MIN_ROWS} rows to measure recall; got {len(rows)}")
    n_queries = min(1000, len(rows) // 10)
    queries, items = rows[:n_queries], rows[n_queries:]
    truth = float_neighbors(queries, items, _K)
    index = BinaryIndex(quantizer=quantizer)
    index.add(items)
    lines = [
        f"Recall@{_K} of the nearest embeddings by cosine, {len(items):,} items and {n_queries:,} queries that the "
        "quantizer was not fitted on:",
        "",
        "| scoring | recall |",
        "|---|---:|",
    ]
    for scoring, name in (("asymmetric", "float queries against codes"), ("hamming", "Hamming distance")):
        recall = neighbor_recall(truth, index.search(queries, _K, scoring=scoring).ids)
        lines.append(f"| {name} | {100 * recall.value:.1f} % |")
    return lines
