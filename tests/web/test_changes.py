"""A server whose index another process changes, and work that fails."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from h2q.index import BinaryIndex
from h2q.quantization import HouseholderQuantizer
from h2q.web import Settings

from .conftest import TOKEN, Serve, X

BEARER = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def copy(digits: Path, tmp_path: Path) -> Path:
    """Return a copy of the index of digits, to be changed."""
    BinaryIndex.open(digits).save(tmp_path / "copy")
    return tmp_path / "copy"


def add(client: TestClient, item: int) -> Any:
    body = {"embedding": X[5].tolist()}
    return client.post("/api/items", params={"id": item}, json=body, headers=BEARER)


def test_a_change_takes_up_the_changes_of_another_process(copy: Path, serve: Serve) -> None:
    client = serve(copy, token=TOKEN)
    other = BinaryIndex.open(copy)
    other.remove([3])
    other.save()
    assert add(client, 9_000).json() == {"id": 9_000, "items": len(X)}
    assert client.post("/api/search", json={"id": 3}).status_code == 404
    stored = BinaryIndex.open(copy)
    assert 9_000 in stored
    assert 3 not in stored


def test_an_index_that_another_process_replaced_is_searched_and_takes_no_changes(copy: Path, serve: Serve) -> None:
    client = serve(copy, token=TOKEN)
    new = BinaryIndex(quantizer=HouseholderQuantizer(32, random_state=1).fit(X), keep_embeddings=True)
    new.add(X[:50])
    new.save(copy)
    for answer in (add(client, 9_000), client.delete("/api/items", params={"id": 3}, headers=BEARER)):
        assert (answer.status_code, "restart the server" in answer.json()["error"]) == (503, True)
        assert str(copy) not in answer.text
    assert client.post("/api/search", json={"id": 1_000, "k": 1}).json()["results"][0]["id"] == 1_000
    assert len(BinaryIndex.open(copy)) == 50


def test_a_comparison_that_fails_says_so_and_starts_again(
    copy: Path, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    for file in copy.glob("segment-*"):
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    client = serve(copy)
    deadline = time.monotonic() + 60
    for tries in (1, 2):
        while (answer := client.get("/api/comparison")).status_code == 202:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert answer.json()["status"] == "failed"
        assert answer.json()["error"] == "the comparison failed; the log of the server has the reason"
        assert len(caplog.records) == tries


def test_an_empty_token_is_no_token() -> None:
    with pytest.raises(ValueError, match="token must not be empty"):
        Settings(token="")


def test_names_of_hosts_have_no_case(digits: Path, serve: Serve) -> None:
    client = serve(digits, hosts=("Photos.Example",))
    assert client.get("/health", headers={"host": "photos.example"}).status_code == 200


def test_only_uploads_of_images_may_be_large(digits: Path, serve: Serve) -> None:
    client = serve(digits, max_json_bytes=1_000)
    body = np.zeros(2_000, np.uint8).tobytes()
    assert client.post("/api/search/image", content=body).status_code == 400
    assert client.put("/api/search/image", content=body).status_code == 413
