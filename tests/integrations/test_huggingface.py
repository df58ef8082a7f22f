from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
from sklearn.datasets import load_digits

import h2q
from h2q.integrations import huggingface
from h2q.integrations.huggingface import from_pretrained, model_card, push_to_hub, save_pretrained

X = np.asarray(load_digits().data, np.float32)


def test_a_folder_and_back(tmp_path: Path) -> None:
    quantizer = h2q.RefinedQuantizer(5, random_state=0).fit(X[:1300])
    (tmp_path / "notes.txt").write_text("mine")
    save_pretrained(quantizer, tmp_path, embeddings=X[1300:], trained_on="1,300 handwritten digits")
    loaded = from_pretrained(tmp_path)
    assert loaded.fingerprint() == quantizer.fingerprint()
    card = (tmp_path / "README.md").read_text()
    assert "Fitted on 1,300 handwritten digits." in card
    assert "448 items and 49 queries" in card
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_the_numbers_of_the_card_are_those_of_a_search() -> None:
    quantizer = h2q.HouseholderQuantizer(32, random_state=0).fit(X[:1000])
    held_out = X[1000:]
    index = h2q.BinaryIndex(quantizer=quantizer)
    index.add(held_out[79:])
    norms = np.linalg.norm(held_out, axis=1, keepdims=True)
    truth = np.argsort(-(held_out / norms)[:79] @ (held_out / norms)[79:].T, axis=1)[:, :10]
    ids = index.search(held_out[:79], 10, scoring="hamming").ids
    recall = np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(ids, truth, strict=True)])
    assert f"| Hamming distance | {100 * recall:.1f} % |" in model_card(quantizer, embeddings=held_out)
    assert "4 bytes an item" in model_card(quantizer)


def test_too_few_embeddings_for_the_card() -> None:
    with pytest.raises(ValueError, match="at least 200 rows to measure recall; got 10"):
        model_card(h2q.SignQuantizer(32).fit(X), embeddings=X[:10])


class LocalHub:
    """A hub in a folder, with the two calls that are made: no hub can be reached from a test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create_repo(self, repo_id: str, **options: Any) -> huggingface_hub.RepoUrl:
        (self.folder / repo_id).mkdir(parents=True, exist_ok=True)
        return huggingface_hub.RepoUrl(f"https://huggingface.co/{repo_id}")

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> huggingface_hub.CommitInfo:
        for file in Path(folder_path).iterdir():
            (self.folder / repo_id / file.name).write_bytes(file.read_bytes())
        return huggingface_hub.CommitInfo(
            commit_url=f"https://huggingface.co/{repo_id}/commit/1", commit_message=commit_message,
            commit_description="", oid="1",
        )  # fmt: skip


def test_push_uploads_quantizer_and_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda token=None: LocalHub(tmp_path))
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", lambda repo, name, revision=None, token=None: tmp_path / repo / name
    )
    quantizer = h2q.HouseholderQuantizer(32, random_state=0).fit(X)
    assert push_to_hub(quantizer, "me/digits") == "https://huggingface.co/me/digits/commit/1"
    assert sorted(path.name for path in (tmp_path / "me/digits").iterdir()) == ["README.md", huggingface.QUANTIZER_FILE]
    assert from_pretrained("me/digits").fingerprint() == quantizer.fingerprint()
