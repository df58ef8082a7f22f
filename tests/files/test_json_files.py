"""JSON files: damage is found, hostile files are refused in one line, and what cannot be written is named."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from h2q.errors import FileFormatError
from h2q.files import (
    decode_json,
    encode_checked_json,
    read_checked_json,
    read_json,
    write_checked_json,
    write_json,
)

RECORD: dict[str, Any] = {"kind": "example", "items": 6000, "next": [1.5, None, "é"], "nested": {"h2q_checksum": "no"}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_checked_json(tmp_path / "a.json", RECORD)
    return tmp_path / "a.json"


def test_what_is_written_is_read(file: Path, tmp_path: Path) -> None:
    assert read_checked_json(file) == RECORD
    assert read_json(file) == RECORD
    write_json(tmp_path / "plain.json", [1, "é"])
    assert read_json(tmp_path / "plain.json") == [1, "é"]


def test_other_programs_read_the_record_with_its_checksum(file: Path) -> None:
    assert {**RECORD, "h2q_checksum": json.loads(file.read_bytes())["h2q_checksum"]} == json.loads(file.read_bytes())


def test_every_flipped_bit_is_found(file: Path) -> None:
    content = file.read_bytes()
    for position in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[position // 8] ^= 1 << position % 8
        file.write_bytes(damaged)
        with pytest.raises(FileFormatError, match=r"a\.json is (damaged|truncated or not JSON)"):
            read_checked_json(file)


def test_every_truncation_is_found(file: Path) -> None:
    content = file.read_bytes()
    for length in range(len(content)):
        file.write_bytes(content[:length])
        with pytest.raises(FileFormatError, match=r"a\.json is (damaged|truncated or not JSON)"):
            read_checked_json(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": ', "is truncated or not JSON"),
        (b"\xff\xfe", "is truncated or not JSON"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a": ' * 100_000, "nested too deeply"),
        (b"1" * 10_000, "is truncated or not JSON"),
        (b"{}", "has no checksum"),
        (b"[]", "has no checksum"),
        (b'{"a": 1, "h2q_checksum": "xxh3_64:0000000000000000"}', "does not match its checksum"),
    ],
)
def test_hostile_files_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(FileFormatError, match=rf"a\.json .*{message}"):
        read_checked_json(tmp_path / "a.json")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(FileFormatError, match=r"a\.json is larger than 100 MB"):
        read_json(tmp_path / "a.json")


def test_a_record_may_hold_checksums_of_others(tmp_path: Path) -> None:
    inner = encode_checked_json(RECORD, "inner").decode()
    outer = encode_checked_json({"inner": inner, "again": json.loads(inner)}, "outer")
    assert decode_json(outer, "outer", checked=True)["inner"] == inner
    with pytest.raises(ValueError, match="a must not have an entry h2q_checksum"):
        encode_checked_json({"h2q_checksum": 1}, "a")


def test_numpy_values_are_written(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": np.float32(0.5), "b": np.arange(3), "c": np.bool_(True)})
    assert read_json(tmp_path / "a.json") == {"a": 0.5, "b": [0, 1, 2], "c": True}


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    loop: list[Any] = []
    loop.append(loop)
    for value, reason in ((object(), "it contains <object"), ({1j}, "it contains {1j}"), (loop, "Circular")):
        with pytest.raises(TypeError, match=rf"cannot write .*a\.json as JSON: {reason}"):
            write_json(tmp_path / "a.json", {"a": value})
    assert not list(tmp_path.iterdir())
