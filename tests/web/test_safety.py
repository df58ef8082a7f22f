"""Attempts to get from a server what it should not give, and to keep it from answering."""

import asyncio
import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from h2q.index import BinaryIndex
from h2q.web import Settings, create_app, open_contents
from h2q.web.guards import HEADERS, TokenBuckets
from h2q.web.pictures import read_inside
from h2q.web.settings import Refusal

from .conftest import TOKEN, Serve, X


def encode(image: Image.Image, kind: str) -> bytes:
    output = io.BytesIO()
    image.save(output, kind)
    return output.getvalue()


def png_that_claims(width: int, height: int) -> bytes:
    """Return a PNG of some hundred bytes whose header names a size; its pixels are zeros, cut short."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10_000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def refused(answer: Any, status: int, message: str = "") -> None:
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    assert message in answer.json()["error"]
    assert "Traceback" not in answer.text


class TestFiles:
    """No path that a client sends is opened, and no file outside of the folder is read."""

    @pytest.mark.parametrize(
        "path",
        ["../secret.jpg", "/etc/passwd", "trips/../../secret.jpg", "./00.jpg", "trips//01.jpg", "00.jpg\0", "", "00"],
    )
    def test_ids_that_are_not_in_the_index(self, photos: Path, serve: Serve, path: str) -> None:
        Image.new("RGB", (8, 8)).save(photos.parent / "secret.jpg")
        client = serve(photos)
        for kind in ("thumbnail", "picture", "text"):
            answer = client.get(f"/api/{kind}", params={"id": path})
            assert answer.status_code in (404, 422)
            assert list(answer.json()) == ["error"]

    def test_an_absolute_path_of_an_indexed_file_is_no_id(self, photos: Path, serve: Serve) -> None:
        refused(serve(photos).get("/api/picture", params={"id": str(photos.parent / "photos/00.jpg")}), 404)

    @pytest.mark.parametrize("target", ["/etc/passwd", "outside.jpg"])
    def test_a_file_that_became_a_link(self, photos: Path, serve: Serve, target: str) -> None:
        Image.new("RGB", (8, 8)).save(photos.parent / "outside.jpg")
        indexed = photos.parent / "photos/00.jpg"
        indexed.unlink()
        indexed.symlink_to(target if target.startswith("/") else photos.parent / target)
        client = serve(photos)
        for kind in ("thumbnail", "picture"):
            refused(client.get(f"/api/{kind}", params={"id": "00.jpg"}), 404)

    def test_a_folder_that_became_a_link(self, photos: Path, serve: Serve) -> None:
        folder = photos.parent / "photos/trips"
        folder.rename(photos.parent / "elsewhere")
        folder.symlink_to(photos.parent / "elsewhere")
        refused(serve(photos).get("/api/picture", params={"id": "trips/01.jpg"}), 404)

    def test_a_file_that_became_something_else(self, photos: Path, serve: Serve) -> None:
        folder = photos.parent / "photos"
        for name, make in (
            ("00.jpg", os.mkfifo),  # would wait for a writer
            ("02.jpg", os.mkdir),
            ("04.jpg", lambda path: Path(path).write_text("root:x:0:0")),
            ("06.jpg", lambda path: Path(path).write_bytes(png_that_claims(60_000, 60_000))),
        ):
            (folder / name).unlink()
            make(folder / name)
        client = serve(photos)
        for name, status in (("00.jpg", 404), ("02.jpg", 404), ("04.jpg", 415), ("06.jpg", 413)):
            refused(client.get("/api/picture", params={"id": name}), status)

    @pytest.mark.parametrize("name", ["../secret", "a/../../secret", "/etc/passwd", "..", ".", "", "a\0b"])
    def test_an_index_that_names_files_outside(self, tmp_path: Path, name: str) -> None:
        """Whoever wrote the index may have put such ids into it."""
        (tmp_path / "folder" / "a").mkdir(parents=True)
        (tmp_path / "secret").write_text("secret")
        with pytest.raises(Refusal):
            read_inside(tmp_path / "folder", name)


class TestUploads:
    """Images of strangers are bounded in bytes and pixels, of known kinds, and not kept."""

    def test_too_many_bytes(self, photos: Path, serve: Serve) -> None:
        client = serve(photos, max_upload_bytes=5_000)
        refused(client.post("/api/search/image", content=bytes(5_001)), 413, "5,000 bytes")
        parts = (bytes(1_000) for _ in range(6))  # chunked: no length is announced
        refused(client.post("/api/search/image", content=parts), 413, "5,000 bytes")
        for length in ("-1", "1e3", "9" * 30, "5001"):
            answer = client.post("/api/search/image", content=b"x", headers={"content-length": length})
            refused(answer, 413)

    @pytest.mark.parametrize("size", [(60_000, 60_000), (9_000, 9_000)])
    def test_a_few_bytes_with_many_pixels(self, photos: Path, serve: Serve, size: tuple[int, int]) -> None:
        refused(serve(photos).post("/api/search/image", content=png_that_claims(*size)), 413, "pixels")

    def test_pixels_that_are_there(self, photos: Path, serve: Serve) -> None:
        client = serve(photos, max_pixels=10_000)
        refused(client.post("/api/search/image", content=encode(Image.new("L", (101, 100)), "GIF")), 413, "10,000")
        assert client.post("/api/search/image", content=encode(Image.new("L", (100, 100)), "GIF")).status_code == 200

    @pytest.mark.parametrize("kind", ["TIFF", "PPM", "ICO", "EPS", "PDF", "TGA", "PCX"])
    def test_decoders_of_other_kinds_are_not_reached(self, photos: Path, serve: Serve, kind: str) -> None:
        content = encode(Image.new("RGB", (32, 32)), kind)
        refused(serve(photos).post("/api/search/image", content=content), 415, "expected JPEG, PNG, WEBP, GIF, BMP")

    def test_bytes_that_are_no_picture(self, photos: Path, serve: Serve) -> None:
        client = serve(photos)
        picture = (photos.parent / "photos/00.jpg").read_bytes()
        refused(client.post("/api/search/image", content=b""), 415)
        refused(client.post("/api/search/image", content=b"cposix\nsystem\n(S'id'\ntR."), 415)  # a pickle
        refused(client.post("/api/search/image", content=picture[: len(picture) // 2]), 400, "does not decode")
        refused(client.post("/api/search/image", content=png_that_claims(100, 100)), 400, "does not decode")
        for place in range(2, len(picture), 97):
            damaged = picture[:place] + bytes([picture[place] ^ 255]) + picture[place + 1 :]
            assert client.post("/api/search/image", content=damaged).status_code in (200, 400, 413, 415)

    def test_uploads_leave_nothing_behind(
        self, photos: Path, tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        before = sorted(tmp_path.rglob("*"))
        client, other = serve(photos), serve(photos)
        content = encode(Image.new("RGB", (40, 40), (200, 10, 10)), "PNG")
        mine = client.post("/api/search/image", content=content, params={"k": 40}).json()["results"]
        assert sorted(tmp_path.rglob("*")) == before
        assert len(mine) == 40
        for server in (client, other):
            assert server.get("/api/info").json()["items"] == 40
            found = server.post("/api/search/image", content=content, params={"k": 1}).json()["results"]
            assert found[0]["distance"] > 0.01  # nobody's upload is among the results


class TestRequests:
    """What is in a request is checked, and bounded in size and depth."""

    @pytest.mark.parametrize(
        ("content", "status"),
        [
            (b'{"id": 1, "k": 0}', 422),
            (b'{"id": 1, "k": -5}', 422),
            (b'{"id": 1, "k": 51}', 400),
            (b'{"id": 1, "k": 1e400}', 422),
            (b'{"id": 1, "k": ' + b"9" * 5_000 + b"}", 422),
            (b'{"id": 1, "n_bits": 33}', 400),
            (b'{"id": 1, "scoring": "best"}', 422),
            (b'{"id": 1, "text": "both"}', 400),
            (b"{}", 400),
            (b"[]", 422),
            (b"", 422),
            (b"\xff\xfe", 422),
            (b'{"id": 1, "other": 2}', 422),
            (b'{"id": -1}', 422),
            (b'{"id": 99999999999999999999}', 422),
            (b'{"id": "99999999999999999999999999"}', 404),
            (b'{"id": "\\ud800"}', 422),
            (b'{"id": true}', 422),
            (b'{"embedding": [NaN]}', 422),
            (b'{"embedding": [Infinity]}', 422),
            (b'{"embedding": [1e999]}', 422),
            (b'{"embedding": [1, 2]}', 400),
            (b'{"embedding": []}', 422),
            (b'{"embedding": [[1]]}', 422),
            (b'{"embedding": ' + str([1e300] * 63).encode() + b"}", 400),
            (b'{"embedding": ' + str([0] * 63).encode() + b', "scoring": "asymmetric"}', 400),
            (b'{"code": "zz"}', 422),
            (b'{"code": "fff"}', 422),
            (b'{"code": "ffff"}', 400),
            (b"[" * 100_000, 422),
            (b'{"where":' * 50_000, 422),
            (b'{"embedding": [' + b"1," * 70_000 + b"1]}", 422),
        ],
    )
    def test_bodies_that_do_not_fit(self, digits: Path, serve: Serve, content: bytes, status: int) -> None:
        client = serve(digits, max_k=50)
        for path in ("/api/search", "/api/why"):
            answer = client.post(path, content=content, headers={"content-type": "application/json"})
            if answer.status_code == 400 and status == 422:  # what is no JSON at all
                status = 400
            refused(answer, status)
        assert client.post("/api/search", json={"id": 1}).status_code == 200

    @pytest.mark.parametrize(
        "where",
        [
            "1; drop table items", "digit = (select 1)", "digit = 1 union select 1", "sleep(10)", "digit = 1 --", "'",
            "(" * 900, "not " * 240 + "digit = 1", "digit = " + "9" * 900, "other = 1", "digit like '%'", "digit",
            "half = 'x'", "\0", "digit in (" + "1," * 400 + "1)", "digit = 1 or " * 70 + "digit = 1", "half = 1e999",
        ],
    )  # fmt: skip
    def test_filters_that_are_hostile(self, digits: Path, serve: Serve, where: str) -> None:
        answer = serve(digits).post("/api/search", json={"id": 1, "where": where})
        if answer.status_code != 200:
            refused(answer, 400)

    def test_filters_that_are_too_long(self, digits: Path, serve: Serve) -> None:
        client = serve(digits)
        refused(client.post("/api/search", json={"id": 1, "where": "digit = 1" + " " * 1_000}), 400, "1,000 characters")

    def test_huge_json(self, digits: Path, serve: Serve) -> None:
        client = serve(digits, max_json_bytes=10_000)
        headers = {"content-type": "application/json"}
        refused(client.post("/api/search", content=b'{"text": "' + b"a" * 10_000 + b'"}', headers=headers), 413)

    def test_json_must_say_that_it_is(self, digits: Path, serve: Serve) -> None:
        """A page of another site may send plain text without being asked, but not JSON."""
        refused(serve(digits).post("/api/search", content=b'{"id": 1}', headers={"content-type": "text/plain"}), 422)

    def test_wrong_methods_and_paths(self, digits: Path, serve: Serve) -> None:
        client = serve(digits)
        refused(client.put("/api/search"), 405)
        refused(client.request("TRACE", "/api/info"), 405)
        refused(client.get("/api/nothing"), 404)
        refused(client.get("/debug"), 404)

    def test_bodies_of_all_requests_share_a_bounded_memory(self, digits: Path, serve: Serve) -> None:
        client = serve(digits, buffered_bytes=1_000)
        refused(client.post("/api/search/image", content=bytes(2_000)), 503)
        # Memory of requests that failed is given back.
        for _ in range(3):
            assert client.post("/api/search", json={"id": 1}).status_code == 200


class TestErrors:
    """An error of the server says nothing of its inside."""

    def test_a_damaged_index(self, digits: Path, tmp_path: Path, serve: Serve) -> None:
        BinaryIndex.open(digits).save(tmp_path / "index")
        for file in (tmp_path / "index").glob("segment-*"):
            content = bytearray(file.read_bytes())
            content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
            file.write_bytes(content)
        client = serve(tmp_path / "index")
        answers = [client.post("/api/search", json={"id": number}) for number in range(0, len(X), 150)]
        failed = [answer for answer in answers if answer.status_code == 500]
        for answer in failed or answers:
            assert list(answer.json()) == ["error"]
            assert str(tmp_path) not in answer.text
        assert failed


class TestHosts:
    """A page of another site cannot reach the server under a name of its own."""

    @pytest.mark.parametrize(
        ("host", "allowed"),
        [
            ("127.0.0.1:8000", True), ("localhost", True), ("LOCALHOST:8000", True), ("[::1]:8000", True),
            ("192.168.1.7:8000", True), ("photos.example", True), ("evil.example", False),
            ("evil.example:8000", False), ("localhost.evil.example", False), ("127.0.0.1.evil.example", False),
            ("", False), ("photos.example@evil.example", False), ("2130706433", False), ("0x7f.1", False),
        ],
    )  # fmt: skip
    def test_names(self, digits: Path, serve: Serve, host: str, allowed: bool) -> None:
        answer = serve(digits, hosts=("photos.example",)).get("/api/info", headers={"host": host})
        assert answer.status_code == (200 if allowed else 421)
        if not allowed:
            refused(answer, 421)

    def test_headers_of_every_answer(self, photos: Path, serve: Serve) -> None:
        client = serve(photos, max_upload_bytes=100)
        answers = [
            client.get("/api/info"),
            client.get("/api/thumbnail", params={"id": "00.jpg"}),
            client.get("/nothing"),
            client.get("/api/info", headers={"host": "evil.example"}),
            client.post("/api/search/image", content=bytes(101)),
        ]
        assert [answer.status_code for answer in answers] == [200, 200, 404, 421, 413]
        for answer in answers:
            assert {name: answer.headers[name] for name in HEADERS} == HEADERS
            assert "access-control-allow-origin" not in answer.headers
            assert "server" not in answer.headers
        policy = answers[0].headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy


class TestToken:
    """Items change with the token alone."""

    @pytest.mark.parametrize(
        "header", [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x"]
    )
    def test_wrong_tokens(self, photos: Path, serve: Serve, header: str | None) -> None:
        client = serve(photos, token=TOKEN)
        headers = {} if header is None else {"authorization": header}
        for answer in (
            client.post("/api/items", params={"id": "x"}, content=b"", headers=headers),
            client.delete("/api/items", params={"id": "00.jpg"}, headers=headers),
        ):
            refused(answer, 401)
            assert answer.headers["www-authenticate"] == "Bearer"
        assert client.get("/api/info").json()["items"] == 40

    def test_a_token_of_other_characters(self, photos: Path, serve: Serve) -> None:
        headers = {"authorization": "Bearer é".encode("latin-1")}
        refused(serve(photos, token=TOKEN).delete("/api/items", params={"id": "00.jpg"}, headers=headers), 401)

    def test_without_a_token_nobody_may(self, photos: Path, serve: Serve) -> None:
        client = serve(photos)
        for header in ("Bearer ", "Bearer None", f"Bearer {TOKEN}"):
            refused(client.delete("/api/items", params={"id": "00.jpg"}, headers={"authorization": header}), 403)


class TestRates:
    """A client has a rate, images cost more, and the server forgets clients rather than grow."""

    def test_a_client_that_sends_too_much(self, digits: Path, serve: Serve) -> None:
        client = serve(digits, requests_per_second=0.5)
        assert client.get("/health").status_code == 200
        answer = client.get("/health")
        refused(answer, 429, "try again in")
        assert int(answer.headers["retry-after"]) > 0

    def test_images_cost_more(self, photos: Path, serve: Serve) -> None:
        client = serve(photos, requests_per_second=15)
        content = (photos.parent / "photos/00.jpg").read_bytes()
        statuses = [client.post("/api/search/image", content=content).status_code for _ in range(4)]
        assert statuses[0] == 200
        assert 429 in statuses

    def test_a_header_does_not_make_another_client(self, digits: Path, serve: Serve) -> None:
        client = serve(digits, requests_per_second=0.5)
        answers = [client.get("/health", headers={"x-forwarded-for": f"192.0.2.{number}"}) for number in range(3)]
        assert [answer.status_code for answer in answers] == [200, 429, 429]

    def test_a_rate_refills_and_memory_is_bounded(self) -> None:
        now = 0.0
        buckets = TokenBuckets(2.0, clock=lambda: now)
        assert [buckets.take("one", 1) for _ in range(5)] == [0, 0, 0, 0, 0.5]
        now = 0.5
        assert [buckets.take("one", 1), buckets.take("one", 1)] == [0, 0.5]
        for number in range(20_000):
            assert buckets.take(f"other {number}", 1) == 0
        assert len(buckets._buckets) <= 10_000


def test_a_body_that_does_not_come(digits: Path) -> None:
    app = create_app(open_contents(digits), Settings(body_seconds=0.05))
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": "/api/search",
        "raw_path": b"/api/search", "query_string": b"", "root_path": "", "scheme": "http",
        "headers": [(b"host", b"localhost"), (b"content-length", b"100")], "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
    }  # fmt: skip
    messages: list[Any] = []
    parts = iter([{"type": "http.request", "body": b"{", "more_body": True}])

    async def receive() -> Any:
        part = next(parts, None)
        if part is None:
            await asyncio.sleep(3600)
        return part

    async def send(message: Any) -> None:
        messages.append(message)

    asyncio.run(app(scope, receive, send))
    assert messages[0]["status"] == 408
    assert b"did not arrive" in messages[1]["body"]


def test_web_sockets_are_refused(digits: Path, serve: Serve) -> None:
    client: TestClient = serve(digits)
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/api/info"):
        pass
