"""Every code block of README.md and docs/ runs as printed, page by page, and what the prose names exists.

A block is fenced with its language. Blocks of Python and of the shell run in the order of the page, in a temporary
folder with the files of `prepared` (conftest.py); a page has one Python namespace. A block that cannot run here has a
comment before it: ``<!-- not run: the reason -->``.
"""

import importlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

# How many blocks of each page do not run. Each has its reason in the page; a new one has to be added here, too.
NOT_RUN = {
    "README.md": 1,
    "docs/contributing.md": 2,
    "docs/backbones.md": 1,
    "docs/choosing.md": 1,
    "docs/cli.md": 1,
    "docs/collections.md": 1,
    "docs/engines.md": 1,
    "docs/experiments.md": 1,
    "docs/serving.md": 2,
    "docs/start.md": 1,
    "docs/training.md": 1,
}

# Blocks of contributing.md that test_contributing.py applies to a copy of the package.
APPLIED = re.compile(r"^<!-- (?:(?:append to|file|edit): \S+|then) -->$")
FENCE = re.compile(r"^ *```(?P<language>[a-z]*)(?P<rest>.*)$")
NOT_RUN_COMMENT = re.compile(r"^<!-- not run: (?P<reason>.+) -->$")
RUN = {"python", "shell"}
SHOWN = {"text", "toml", "json", "yaml", "diff"}
OPTIONS_OF_OTHERS = {"--list"}


@dataclass(frozen=True)
class Block:
    """A fenced block: where its text begins (line, from 1), its language, its text, why it is not run."""

    line: int
    language: str
    text: str
    not_run: str | None
    applied: bool

    @property
    def runs(self) -> bool:
        return self.language in RUN and self.not_run is None and not self.applied


def blocks_of(page: Path) -> list[Block]:
    lines, blocks = page.read_text().splitlines(), []
    number = 0
    while number < len(lines):
        fence = FENCE.match(lines[number])
        if fence is not None:
            assert not fence["rest"], f"{page.name}:{number + 1}: a fence holds its language alone"
            end = next(i for i in range(number + 1, len(lines)) if lines[i].strip() == "```")
            reason = NOT_RUN_COMMENT.match(lines[number - 1])
            text = "\n".join(lines[number + 1 : end])
            applied = APPLIED.match(lines[number - 1]) is not None
            blocks.append(Block(number + 2, fence["language"], text, reason and reason["reason"], applied))
            number = end
        number += 1
    return blocks


def prose_of(page: Path) -> str:
    """Return a page without its blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def _without_spans(text: str) -> str:
    return re.sub(r"`[^`]*`", "", text)


# The address of a database in the pages; its blocks talk to the server of the tests.
DATABASE = "postgresql://postgres@127.0.0.1:5432/postgres"


def run_python(block: Block, page: Path, namespace: dict[str, Any]) -> None:
    padding = "\n" * (block.line - 1)  # so that a traceback names the line of the page
    exec(compile(padding + block.text, str(page), "exec"), namespace)


def run_shell(block: Block, page: Path, folder: Path) -> None:
    program = folder / ".bin" / "h2q"
    if not program.exists():
        program.parent.mkdir()
        program.write_text(f"#!{sys.executable}\nfrom h2q.cli import main\n\nmain()\n")
        program.chmod(0o755)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text],
        env={**os.environ, "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{page.name}:{block.line}: exit {done.returncode}\n{block.text}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_block_names_its_language(page: Path) -> None:
    unknown = [(block.line, block.language) for block in blocks_of(page) if block.language not in RUN | SHOWN]
    assert not unknown, f"label each block {sorted(RUN)} (they run) or {sorted(SHOWN)} (they do not)"


def test_blocks_that_do_not_run_are_counted() -> None:
    counts = {}
    for name, page in zip(NAMES, PAGES, strict=True):
        count = sum(block.not_run is not None for block in blocks_of(page))
        if count:
            counts[name] = count
    assert counts == NOT_RUN


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(block.runs for block in blocks_of(page))], ids=lambda p: p.name
)
def test_snippets_run(
    page: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    folder = Path(shutil.copytree(prepared, tmp_path / "page"))
    monkeypatch.chdir(folder)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks_of(page):
        if block.runs:
            if DATABASE in block.text:
                block = replace(block, text=block.text.replace(DATABASE, request.getfixturevalue("postgresql")))
            if block.language == "python":
                run_python(block, page, namespace)
            else:
                run_shell(block, page, folder)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", _without_spans(prose_of(page)))
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_dotted_names_exist(page: Path) -> None:
    wrong = [name for name in sorted(set(re.findall(r"`(h2q(?:\.\w+)+)", prose_of(page)))) if not _resolves(name)]
    assert not wrong


def _resolves(name: str) -> bool:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            value: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(value, part):
                return False
            value = getattr(value, part)
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_options_exist(page: Path) -> None:
    from typer.main import get_command

    from h2q.cli import build_app

    known, commands = {"--help", *OPTIONS_OF_OTHERS}, [get_command(build_app())]
    for command in commands:
        commands += getattr(command, "commands", {}).values()
        for parameter in command.params:
            known.update(parameter.opts, parameter.secondary_opts)
    spans = re.findall(r"`([^`]+)`", prose_of(page))
    named = {option for span in spans for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", span)}
    assert not named - known
