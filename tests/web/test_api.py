"""What the API answers, beside what the library answers to the same question."""

import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from starlette.testclient import TestClient

from h2q.collections import PictureCollection, TextCollection
from h2q.index import BinaryIndex
from h2q.quantization import NestedQuantizer
from h2q.web import Contents, Settings, create_app, open_contents

from .conftest import DIGITS, TOKEN, Serve, X

BEARER = {"authorization": f"Bearer {TOKEN}"}


def search(client: TestClient, **body: Any) -> Any:
    answer = client.post("/api/search", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def bits_of(code: str) -> NDArray[np.uint8]:
    return np.unpackbits(np.frombuffer(bytes.fromhex(code), np.uint8))


def test_an_index_says_what_it_holds_and_takes(digits: Path, photos: Path, serve: Serve) -> None:
    info = serve(digits, max_k=50).get("/api/info").json()
    assert (info["kind"], info["items"], info["n_bits"], info["max_k"]) == ("embeddings", len(X), 32, 50)
    assert info["scorings"] == ["hamming", "asymmetric", "rerank"]
    assert info["accepts"] == ["embedding", "code", "id"]
    assert info["columns"] == [{"name": "digit", "type": "int64"}, {"name": "half", "type": "double"}]
    assert (info["lengths"], info["quantizer"], info["takes_changes"]) == (None, "HouseholderQuantizer", False)
    info = serve(photos, token=TOKEN).get("/api/info").json()
    assert (info["kind"], info["items"], info["name"]) == ("pictures", 40, "photos.h2q")
    assert info["accepts"] == ["image", "embedding", "code", "id"]
    assert info["takes_changes"] is True


@pytest.mark.parametrize("scoring", ["hamming", "asymmetric", "rerank"])
@pytest.mark.parametrize("by", ["id", "embedding"])
def test_an_answer_is_that_of_the_index(digits: Path, serve: Serve, scoring: str, by: str) -> None:
    index = BinaryIndex.open(digits)
    query: Any = {"id": 7} if by == "id" else {"embedding": X[7].tolist()}
    where = "digit in (1, 7) and half < 400"
    answer = search(serve(digits), **query, k=12, scoring=scoring, where=where)
    codes = index.quantizer.encode(X[7:8])
    if scoring == "hamming":
        expected = index.search(codes, 12, where=where)
    else:
        rerank = 100 if scoring == "rerank" else None
        expected = index.search(X[7:8], 12, where=where, rerank=rerank)
    results = answer["results"]
    assert answer["scoring"] == scoring
    assert [result["id"] for result in results] == expected.ids[0].tolist()
    np.testing.assert_allclose([result["distance"] for result in results], expected.distances[0], rtol=1e-6)
    assert answer["query_code"] == codes.tobytes().hex()
    assert [result["code"] for result in results] == [row.tobytes().hex() for row in index.codes(expected.ids[0])]
    for result in results:
        assert result["bits"] == (bits_of(answer["query_code"]) != bits_of(result["code"])).sum()
        assert result["metadata"] == {"digit": DIGITS.target[result["id"]], "half": result["id"] / 2}
    assert set(answer["seconds"]) == {"embed", "search"}


def test_the_default_scoring_is_the_best_that_there_is(digits: Path, serve: Serve) -> None:
    client = serve(digits)
    assert search(client, id=3)["scoring"] == "rerank"
    assert len(search(client, id=3)["results"]) == 20
    code = search(client, id=3)["query_code"]
    by_code = search(client, code=code, k=5)
    assert by_code["scoring"] == "hamming"
    assert by_code["results"] == search(client, id=3, scoring="hamming", k=5)["results"]
    answer = client.post("/api/search", json={"code": code, "scoring": "rerank"})
    assert answer.status_code == 400
    assert "needs an embedding" in answer.json()["error"]


def test_an_index_of_codes_alone_is_searched_by_code_and_id(tmp_path: Path, serve: Serve) -> None:
    codes = np.random.default_rng(0).integers(0, 256, (50, 2), dtype=np.uint8) & np.array([255, 240], np.uint8)
    index = BinaryIndex(12)
    index.add(codes, [f"item {number}" for number in range(50)])
    index.save(tmp_path / "codes")
    client = serve(tmp_path / "codes")
    answer = search(client, id="item 9", k=4)
    assert answer["results"][0] == {
        "id": "item 9", "distance": 0, "bits": 0, "code": codes[9].tobytes().hex(), "metadata": {}
    }  # fmt: skip
    first = search(client, id="item 9", k=50, n_bits=5)
    assert first["n_bits"] == 5
    for result in first["results"]:
        assert result["bits"] == result["distance"]
        assert result["bits"] == (bits_of(first["query_code"])[:5] != bits_of(result["code"])[:5]).sum()
    for body, message in (
        ({"embedding": [1.0]}, "no quantizer"),
        ({"text": "cat"}, "no text model"),
        ({"id": "item 9", "scoring": "rerank"}, "scoring must be one of hamming for this index"),
        ({"id": "item 9", "n_bits": 13}, "n_bits must be from 1 to 12"),
        ({"code": "fff"[:2]}, "code must have 4 hexadecimal digits"),
        ({"code": "ffff"}, "padding"),
        ({"id": "item 9", "where": "year > 3"}, "the index has none"),
    ):
        refused = client.post("/api/search", json=body)
        assert refused.status_code == 400
        assert message in refused.json()["error"]
    assert client.post("/api/search", json={"id": "item 50"}).status_code == 404
    assert client.post("/api/search/image", content=b"").json()["error"].startswith("this index holds embeddings")
    assert client.get("/api/thumbnail", params={"id": "item 9"}).status_code == 404
    assert client.get("/api/comparison").status_code == 404
    assert client.post("/api/why", json={"id": "item 9"}).status_code == 400


def test_an_empty_index_has_empty_answers(tmp_path: Path, serve: Serve) -> None:
    BinaryIndex(8).save(tmp_path / "empty")
    client = serve(tmp_path / "empty")
    assert client.get("/api/info").json()["items"] == 0
    assert search(client, code="ff")["results"] == []
    assert client.post("/api/search", json={"id": 0}).status_code == 404


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_an_image_finds_itself(photos: Path, serve: Serve, kind: str) -> None:
    content = (photos.parent / "photos/trips/03.jpg").read_bytes()
    if kind != "JPEG":
        output = io.BytesIO()
        Image.open(io.BytesIO(content)).save(output, kind, **({"lossless": True} if kind == "WEBP" else {}))
        content = output.getvalue()
    answer = serve(photos).post("/api/search/image", params={"k": 3}, content=content)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["results"][0]["id"] == "trips/03.jpg"
    assert found["results"][0]["distance"] == pytest.approx(0, abs=0.1 if kind == "GIF" else 1e-5)
    assert found["seconds"]["embed"] > 0
    if kind == "JPEG":
        expected = PictureCollection.open(photos).search(photos.parent / "photos/trips/03.jpg", 3)
        assert [result["id"] for result in found["results"]] == expected.ids[0].tolist()


def test_nested_codes_name_their_lengths(tmp_path: Path, serve: Serve) -> None:
    index = BinaryIndex(quantizer=NestedQuantizer(32, steps=20, random_state=0).fit(X))
    index.add(X[:100])
    index.save(tmp_path / "nested")
    client = serve(tmp_path / "nested")
    assert client.get("/api/info").json()["lengths"] == [16, 32]
    answer = search(client, embedding=X[3].tolist(), n_bits=16, scoring="asymmetric", k=5)
    assert [result["id"] for result in answer["results"]] == index.search(X[3], 5, n_bits=16).ids[0].tolist()


class Letters(Contents):
    """Texts, embedded by the number of each letter: what another kind of items has to bring."""

    kind = "texts"
    accepts = ("text",)
    texts = ("a cat on a mat", "a dog in the fog", "a fox in a box", "the ox")

    def embed_text(self, text: str) -> NDArray[np.float32]:
        return np.array([[text.count(chr(97 + letter)) for letter in range(26)]], np.float32)

    def text(self, item: str | int) -> str:
        return self.texts[int(item)]


def test_texts_plug_in() -> None:
    rows = np.concatenate([Letters(BinaryIndex(8), "").embed_text(text) for text in Letters.texts])
    index = BinaryIndex(quantizer=NestedQuantizer(3, steps=5, random_state=0).fit(rows), keep_embeddings=True)
    index.add(rows)
    client = TestClient(create_app(Letters(index, "letters")), "http://localhost")
    assert client.get("/api/info").json()["accepts"] == ["text", "embedding", "code", "id"]
    answer = search(client, text="a fox in a box", k=1)
    assert answer["results"][0]["id"] == 2
    assert answer["seconds"]["embed"] > 0
    assert client.get("/api/text", params={"id": 2}).json() == {"id": 2, "text": "a fox in a box"}
    assert "no image model" in client.post("/api/search/image", content=b"").json()["error"]


def test_a_collection_of_texts_is_searched_by_text(tmp_path: Path, serve: Serve) -> None:
    texts = ["a cat sleeps", "the stock market fell", "rain in the north", "kittens and cats play", "shares and bonds"]
    (tmp_path / "texts.txt").write_text("\n".join([*texts, *(f"line number {number}" for number in range(20))]))
    TextCollection(tmp_path / "texts.h2q", tmp_path / "texts.txt").update()
    client = serve(tmp_path / "texts.h2q")
    info = client.get("/api/info").json()
    assert (info["kind"], info["accepts"]) == ("texts", ["text", "embedding", "code", "id"])
    assert [column["name"] for column in info["columns"]] == ["text"]  # and no column of the program itself
    results = search(client, text="a young cat", k=2)["results"]
    assert {result["metadata"]["text"] for result in results} == {texts[0], texts[3]}
    assert client.get("/api/text", params={"id": 1}).json() == {"id": 1, "text": texts[1]}
    assert client.post("/api/search", json={"text": " "}).json() == {"error": "text must not be empty"}
    why = client.post("/api/why", json={"text": texts[4], "k": 1}).json()
    assert [why[name]["results"][0]["id"] for name in ("sign", "learned")] == [4, 4]


def test_pictures_are_shown_small_and_whole_without_what_the_file_says_beside_them(photos: Path, serve: Serve) -> None:
    large = Image.linear_gradient("L").resize((3000, 1000)).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    exif[0x010E] = "taken at home"
    large.save(photos.parent / "photos/00.jpg", exif=exif)
    client = serve(photos)
    for path, longest in (("/api/thumbnail", 256), ("/api/picture", 2048)):
        answer = client.get(path, params={"id": "00.jpg"})
        assert answer.headers["content-type"] == "image/jpeg"
        picture = Image.open(io.BytesIO(answer.content))
        assert picture.format == "JPEG"
        assert max(picture.size) == picture.height == longest
        assert len(picture.getexif()) == 0
        assert b"taken at home" not in answer.content
    (photos.parent / "photos/02.jpg").unlink()
    assert client.get("/api/thumbnail", params={"id": "02.jpg"}).status_code == 404
    # The thumbnail is remembered for a while.
    (photos.parent / "photos/00.jpg").unlink()
    assert client.get("/api/thumbnail", params={"id": "00.jpg"}).status_code == 200


def test_why_shows_plain_signs_beside_the_codes(photos: Path, digits: Path, serve: Serve) -> None:
    client = serve(digits)
    answer = client.post("/api/why", json={"id": 11, "k": 6, "where": "digit < 5"}).json()
    learned = search(client, id=11, k=6, scoring="hamming", where="digit < 5")
    assert answer["learned"]["results"] == learned["results"]
    sign, own = answer["sign"], BinaryIndex.open(digits).quantizer
    assert sign["scoring"] == "hamming"
    assert sign["query_code"] != learned["query_code"]
    assert all(result["metadata"]["digit"] < 5 for result in sign["results"])
    # The code by plain signs: the signs of the projections before the rotation.
    projected = (X[11] - X.mean(axis=0)) @ np.linalg.svd(X - X.mean(axis=0), full_matrices=False)[2][:32].T
    same = (bits_of(sign["query_code"]) == (projected > 0)).mean(), own.n_bits_
    assert same[1] == 32
    content = (photos.parent / "photos/04.jpg").read_bytes()
    by_image = serve(photos).post("/api/why/image", content=content, params={"k": 1}).json()
    assert [by_image[name]["results"][0]["id"] for name in ("sign", "learned")] == ["04.jpg", "04.jpg"]


def test_a_comparison_is_computed_once_and_says_how_far_it_is(digits: Path, serve: Serve) -> None:
    client = serve(digits)
    answer = client.get("/api/comparison")
    assert answer.status_code == 202
    assert answer.json()["status"] == "running"
    deadline = time.monotonic() + 300
    while (answer := client.get("/api/comparison")).status_code == 202:
        assert 0 <= answer.json()["progress"] <= 1
        assert time.monotonic() < deadline
        time.sleep(0.1)
    done = answer.json()
    assert (done["status"], done["k"], done["bits"]) == ("done", 10, [16, 32])
    recalls = {(curve["quantizer"], curve["scoring"]): curve["recall"] for curve in done["curves"]}
    assert len(recalls) == 12
    for quantizer in ("sign", "random rotation", "ITQ", "H²Q"):
        hamming, asymmetric, reranked = (recalls[quantizer, name] for name in ("hamming", "asymmetric", "rerank"))
        assert hamming[0] < asymmetric[0] < reranked[0] <= 1
        assert hamming[0] < hamming[1]
    assert recalls["H²Q", "hamming"][1] > recalls["sign", "hamming"][1]
    assert done["table"]["columns"] == ["quantizer", "scoring", "16 bits", "32 bits"]
    assert [row[:2] for row in done["table"]["rows"][:2]] == [["sign", "Hamming"], ["sign", "asymmetric"]]
    assert done["table"]["rows"][0][2] == f"{100 * recalls['sign', 'hamming'][0]:.1f}"


def test_items_are_added_replaced_and_removed_with_the_token(photos: Path, serve: Serve) -> None:
    client = serve(photos, token=TOKEN)
    new = (photos.parent / "photos/06.jpg").read_bytes()
    answer = client.post("/api/items", params={"id": "new"}, content=new, headers=BEARER)
    assert (answer.status_code, answer.json()) == (200, {"id": "new", "items": 41})
    found = client.post("/api/search/image", content=new, params={"k": 2}).json()["results"]
    assert {result["id"] for result in found} == {"06.jpg", "new"}
    assert "new" in BinaryIndex.open(photos / "index")
    assert client.get("/api/thumbnail", params={"id": "new"}).status_code == 404  # it has no file
    other = (photos.parent / "photos/08.jpg").read_bytes()
    assert client.post("/api/items", params={"id": "new"}, content=other, headers=BEARER).json()["items"] == 41
    assert search(client, id="new", k=2)["results"][1]["id"] == "08.jpg"
    assert client.delete("/api/items", params={"id": "new"}, headers=BEARER).json() == {"id": "new", "items": 40}
    assert client.delete("/api/items", params={"id": "new"}, headers=BEARER).status_code == 404
    assert "new" not in BinaryIndex.open(photos / "index")
    answer = client.post("/api/items", params={"id": "broken"}, content=new[:200], headers=BEARER)
    assert (answer.status_code, answer.json()["error"]) == (400, "the picture does not decode")


def test_embeddings_are_added_with_metadata(digits: Path, tmp_path: Path, serve: Serve) -> None:
    index = BinaryIndex.open(digits)
    index.save(tmp_path / "copy")
    client = serve(tmp_path / "copy", token=TOKEN)
    body = {"embedding": X[5].tolist(), "metadata": {"digit": 5}}
    assert client.post("/api/items", params={"id": 9000}, json=body, headers=BEARER).json()["id"] == 9000
    (result,) = search(client, embedding=X[5].tolist(), k=1, where="half is null")["results"]
    assert (result["id"], result["metadata"]) == (9000, {"digit": 5, "half": None})
    # What was computed of the items before knows the new one.
    assert client.post("/api/why", json={"id": 9000, "k": 1, "where": "half is null"}).json()["sign"]["results"]
    for params, sent, status in (
        ({"id": "x"}, body, 400),
        ({"id": 1}, {**body, "metadata": {"color": "red"}}, 400),
        ({"id": 1}, {"embedding": [1.0]}, 400),
        ({"id": 1}, {"embedding": "x"}, 422),
        ({"id": 1}, {}, 422),
    ):
        assert client.post("/api/items", params=params, json=sent, headers=BEARER).status_code == status


def test_health_and_metrics(digits: Path, serve: Serve) -> None:
    client = serve(digits)
    assert client.get("/health").json() == {"status": "ok"}
    search(client, id=1)
    client.get("/no/such/path")
    text = client.get("/metrics").text
    assert 'h2q_requests_total{method="POST",path="/api/search",status="200"} 1.0' in text
    assert 'h2q_requests_total{method="GET",path="other",status="404"} 1.0' in text
    assert f"h2q_items {len(X):.1f}" in text
    assert 'h2q_search_seconds_count{part="search"} 1.0' in text
    assert "/no/such/path" not in text


def test_the_files_of_the_page_are_served_and_nothing_else(digits: Path, tmp_path: Path, serve: Serve) -> None:
    page = tmp_path / "page"
    page.mkdir()
    (page / "index.html").write_text("<!doctype html><title>h2q</title>")
    (page / "page.js").write_text("'use strict'")
    (tmp_path / "secret").write_text("secret")
    client = serve(digits, page=page)
    assert client.get("/").text.startswith("<!doctype html>")
    assert client.get("/").headers["content-type"].startswith("text/html")
    assert client.get("/page/page.js").headers["content-type"].startswith("text/javascript")
    for path in ("../secret", "%2e%2e/secret", "..%2fsecret", "/etc/passwd", "page.js/", str(tmp_path / "secret")):
        answer = client.get(f"/page/{path}")
        assert answer.status_code == 404
        assert "secret" not in answer.text


def test_the_description_loads_nothing_from_elsewhere(digits: Path) -> None:
    app = create_app(open_contents(digits), Settings())
    client = TestClient(app, "http://127.0.0.1")
    document = client.get("/openapi.json").json()
    assert document["info"]["title"] == "h2q"
    assert "/api/search" in document["paths"]
    assert [client.get(path).status_code for path in ("/docs", "/redoc")] == [404, 404]
