"""Downloads that resume after a broken connection; pooch stores them and verifies their checksums."""

import logging
import os
import shutil
from pathlib import Path
from typing import Any

from h2q.errors import require
from h2q.progress import progress_bar

__all__ = ["fetch_archive"]

_ATTEMPTS = 5
_BLOCK = 1 << 16
_TIMEOUT_SECONDS = 60


def fetch_archive(url: str, md5: str, folder: Path) -> None:
    """Download an archive (.zip, .tar.gz) and unpack it into a folder, whole or not at all.

    Parameters
    ----------
    url : str
        Where the archive is.
    md5 : str
        Its published checksum, in hexadecimal.
    folder : path
        Where its contents go; created if missing. Until the download is complete, ``<archive>.part`` holds the bytes
        received so far, and the next call resumes from there.

    Raises
    ------
    MissingDependencyError
        If pooch is not installed (extra ``download``).
    OSError
        If the server cannot be reached, or the connection breaks five times; says that the next call resumes.
    ValueError
        If the checksum differs; the download is deleted.
    """
    pooch = require("pooch", "download")
    pooch.get_logger().setLevel(logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    name = url.rsplit("/", 1)[1]
    unpacked = folder / f".{name}.unpacking"
    shutil.rmtree(unpacked, ignore_errors=True)
    processor = (pooch.Unzip if name.endswith(".zip") else pooch.Untar)(extract_dir=unpacked.name)
    store = pooch.create(path=folder, base_url="", registry={name: f"md5:{md5}"}, urls={name: url})
    try:
        store.fetch(name, downloader=_download, processor=processor)
        for entry in unpacked.iterdir():
            _move(entry, folder / entry.name)
        (folder / name).unlink()
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def _move(source: Path, target: Path) -> None:
    """Move a file or a folder into place; the contents of a folder that exists are merged into it."""
    if source.is_dir() and target.is_dir():
        for entry in source.iterdir():
            _move(entry, target / entry.name)
    else:
        source.replace(target)


def _download(url: str, output_file: str, store: Any) -> None:
    """Download to `output_file`, as a pooch downloader does; resume ``<name>.part`` if it exists."""
    requests = require("requests", "download")
    part = Path(store.path) / f"{url.rsplit('/', 1)[1]}.part"
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _continue(requests, url, part)
        except requests.HTTPError as error:
            raise OSError(f"cannot download {url}: the server answers {error}") from error
        except requests.RequestException as error:
            if attempt == _ATTEMPTS:
                size = part.stat().st_size if part.exists() else 0
                raise OSError(
                    f"cannot download {url}: {error} ({size:,} bytes received; call again to resume)"
                ) from error
        else:
            part.replace(output_file)
            return


def _continue(requests: Any, url: str, part: Path) -> None:
    """Ask for the bytes that `part` lacks, and append them."""
    start = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={start}-", "Accept-Encoding": "identity"} if start else {"Accept-Encoding": "identity"}
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_SECONDS) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            # Either the part is complete, or it belongs to another file: the checksum tells.
            return
        response.raise_for_status()
        resumed = response.status_code == requests.codes.partial_content
        missing = int(response.headers["Content-Length"]) if "Content-Length" in response.headers else None
        with (
            part.open("ab" if resumed else "wb") as file,
            progress_bar(url.rsplit("/", 1)[1], missing) as advance,
        ):
            for block in response.iter_content(_BLOCK):
                file.write(block)
                advance(len(block))
            file.flush()
            os.fsync(file.fileno())
