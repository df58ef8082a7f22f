"""Downloads from a real server on this machine: whole, broken off, resumed, and with a wrong checksum."""

import hashlib
import io
import json
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from h2q.datasets import cifar10, coco, load_dataset
from h2q.datasets.download import fetch_archive
from h2q.datasets.images import EncodedImages

pytest.importorskip("pooch")

CONTENT = np.random.default_rng(0).integers(0, 256, 3_000_000, dtype=np.uint8).tobytes()


@pytest.fixture
def server():
    """A server with settings: the files it has, whether it honours ranges, after how many bytes it hangs up."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            state = self.server.state
            name, wanted = self.path.rsplit("/", 1)[1], self.headers.get("Range")
            state["requests"].append((name, wanted))
            if name not in state["files"]:
                self.send_error(404)
                return
            data, start = state["files"][name], 0
            if wanted and state["ranges"]:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                if start >= len(data):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(data)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            body = data[start:]
            if state["hang_up_after"] is not None:
                body = body[: state["hang_up_after"]]
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.state = {"files": {}, "ranges": True, "hang_up_after": None, "requests": []}
    httpd.url = f"http://127.0.0.1:{httpd.server_port}/data/"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield httpd
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def md5(data):
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@pytest.mark.parametrize(("name", "pack"), [("a.zip", zipped), ("a.tar.gz", tarred)])
def test_an_archive_is_fetched_checked_and_unpacked(server, tmp_path, name, pack):
    archive = server.state["files"][name] = pack({"folder/big.bin": CONTENT, "folder/b.txt": b"two"})
    (tmp_path / "new" / "folder").mkdir(parents=True)
    (tmp_path / "new" / "folder" / "own.txt").write_text("kept")
    fetch_archive(server.url + name, md5(archive), tmp_path / "new")
    assert (tmp_path / "new" / "folder" / "big.bin").read_bytes() == CONTENT
    assert sorted(path.name for path in (tmp_path / "new").rglob("*")) == ["b.txt", "big.bin", "folder", "own.txt"]
    assert server.state["requests"] == [(name, None)]


def test_a_connection_that_breaks_is_taken_up_again_where_it_broke(server, tmp_path):
    archive = server.state["files"]["a.zip"] = zipped({"big.bin": CONTENT})
    server.state["hang_up_after"] = 1_200_000
    fetch_archive(server.url + "a.zip", md5(archive), tmp_path)
    assert (tmp_path / "big.bin").read_bytes() == CONTENT
    ranges = [wanted for _, wanted in server.state["requests"]]
    assert ranges[0] is None
    starts = [int(wanted.removeprefix("bytes=").removesuffix("-")) for wanted in ranges[1:]]
    assert 2 <= len(starts) <= 4
    assert starts == sorted(starts)
    assert starts[0] > 0


def test_a_download_that_failed_resumes_at_the_next_call(server, tmp_path):
    archive = server.state["files"]["a.zip"] = zipped({"big.bin": CONTENT})
    server.state["hang_up_after"] = 100_000
    with pytest.raises(OSError, match=r"cannot download http://127.* bytes received; call again to resume"):
        fetch_archive(server.url + "a.zip", md5(archive), tmp_path)
    arrived = (tmp_path / "a.zip.part").stat().st_size
    assert 0 < arrived < len(archive)
    server.state.update(hang_up_after=None, requests=[])
    fetch_archive(server.url + "a.zip", md5(archive), tmp_path)
    assert server.state["requests"] == [("a.zip", f"bytes={arrived}-")]
    assert (tmp_path / "big.bin").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["big.bin"]


def test_a_server_without_ranges_starts_anew(server, tmp_path):
    archive = server.state["files"]["a.zip"] = zipped({"big.bin": CONTENT})
    (tmp_path / "a.zip.part").write_bytes(archive[:1_000_000])
    server.state["ranges"] = False
    fetch_archive(server.url + "a.zip", md5(archive), tmp_path)
    assert (tmp_path / "big.bin").read_bytes() == CONTENT


def test_a_part_that_is_already_whole_is_used(server, tmp_path):
    archive = server.state["files"]["a.zip"] = zipped({"big.bin": CONTENT})
    (tmp_path / "a.zip.part").write_bytes(archive)
    fetch_archive(server.url + "a.zip", md5(archive), tmp_path)
    assert (tmp_path / "big.bin").read_bytes() == CONTENT


def test_a_wrong_checksum_is_an_error_that_leaves_nothing_behind(server, tmp_path):
    archive = server.state["files"]["a.zip"] = zipped({"big.bin": CONTENT})
    (tmp_path / "a.zip.part").write_bytes(b"?" * 1_000_000)
    with pytest.raises(ValueError, match=r"(?i)hash of downloaded file .*does not match"):
        fetch_archive(server.url + "a.zip", md5(archive), tmp_path)
    assert list(tmp_path.iterdir()) == []
    fetch_archive(server.url + "a.zip", md5(archive), tmp_path)
    assert (tmp_path / "big.bin").read_bytes() == CONTENT


def test_a_missing_file_and_a_missing_server_are_named(server, tmp_path):
    with pytest.raises(OSError, match=r"cannot download .*gone\.zip: the server answers 404"):
        fetch_archive(server.url + "gone.zip", md5(b""), tmp_path)
    with pytest.raises(OSError, match=r"cannot download http://127\.0\.0\.1:9/x\.zip"):
        fetch_archive("http://127.0.0.1:9/x.zip", md5(b""), tmp_path)


def test_cifar10_is_downloaded_where_it_is_missing_and_only_there(server, tmp_path, monkeypatch, photos, write_batches):
    images = EncodedImages([data for data, _ in photos], [""] * len(photos))
    write_batches(tmp_path / "made" / "cifar-10-batches-py", images, np.array([label for _, label in photos]))
    files = {f"cifar-10-batches-py/{p.name}": p.read_bytes() for p in (tmp_path / "made").rglob("*") if p.is_file()}
    archive = server.state["files"]["cifar-10-python.tar.gz"] = tarred(files)
    monkeypatch.setattr(cifar10, "URL", server.url + "cifar-10-python.tar.gz")
    monkeypatch.setattr(cifar10, "MD5", md5(archive))
    monkeypatch.setenv("H2Q_DATA", str(tmp_path))
    for _ in range(2):
        dataset = load_dataset("cifar10", download=True)
        assert np.array_equal(dataset.images[30], images[30])
    assert [name for name, _ in server.state["requests"]] == ["cifar-10-python.tar.gz"]
    assert (tmp_path / "cifar10" / "cifar-10-batches-py" / "test_batch").is_file()


def test_coco_downloads_what_is_missing(server, tmp_path, monkeypatch, photos, instances):
    parts = {"train2014": 100, "val2014": 200}
    annotations = {f"annotations/instances_{part}.json": json.dumps(instances(part, n)) for part, n in parts.items()}
    images = {
        part: {f"{part}/{image['file_name']}": photos[0][0] for image in instances(part, n)["images"]}
        for part, n in parts.items()
    }
    contents = {"annotations_trainval2014": annotations, **images}
    archives = {f"{name}.zip": zipped(files) for name, files in contents.items()}
    server.state["files"].update(archives)
    sources = tuple((server.url + name, md5(data)) for name, data in archives.items())
    monkeypatch.setattr(coco, "ARCHIVES", sources)
    for _ in range(2):
        assert len(load_dataset("coco", tmp_path / "coco", download=True)) == 22
    assert [name for name, _ in server.state["requests"]] == list(archives)
