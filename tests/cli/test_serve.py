"""``h2q serve``: its options, without a server; tests/web runs one."""

import json
import os
from pathlib import Path

from .conftest import Run


def test_the_description_of_the_api_is_written(run: Run, index_folder: Path, tmp_path: Path) -> None:
    result = run("serve", index_folder, "--openapi", tmp_path / "api.json")
    assert result.exit_code == 0, result.stderr
    document = json.loads((tmp_path / "api.json").read_text())
    assert {"/api/search", "/api/search/image", "/api/items", "/health"} <= set(document["paths"])


def test_what_is_no_index_and_a_bad_token_are_said(fails: Run, run: Run, index_folder: Path, tmp_path: Path) -> None:
    assert "nothing" in fails(1, "serve", tmp_path / "nothing")
    token = tmp_path / "token"
    token.write_text("short\n")
    assert "expected 16 characters" in fails(2, "serve", index_folder, "--token-file", token)
    token.write_text("a token of some length\n")
    token.chmod(0o644)
    options = ("--token-file", token, "--openapi", tmp_path / "api.json")
    assert "Others on this machine can read" in run("serve", index_folder, *options).stdout
    os.chmod(token, 0o600)
    assert run("serve", index_folder, *options).stdout == ""
    assert "port" in fails(2, "serve", index_folder, "--port", 70_000)
