"""Every change that docs/contributing.md shows is made in a copy of the package and used there; files are counted."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "contributing.md").read_text()
BLOCK = re.compile(
    r"^<!-- (?P<action>append to|file|edit|then)(?:: (?P<path>\S+))? -->\n```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Step:
    section: str
    action: str
    path: str | None
    language: str
    text: str


def steps() -> list[Step]:
    result = []
    for match in BLOCK.finditer(PAGE):
        section = re.findall(r"^### (.+)$", PAGE[: match.start()], re.MULTILINE)[-1]
        result.append(Step(section, match["action"], match["path"], match["language"], match["text"]))
    return result


def stated_counts() -> dict[str, int]:
    """Return the files of each change, from the table of the page."""
    return {
        name.capitalize(): int(count) for name, count in re.findall(r"^\| (an? .+?) \| (\d) \|", PAGE, re.MULTILINE)
    }


def apply(step: Step, root: Path) -> None:
    target = root / str(step.path)
    if step.action == "file":
        assert not target.exists()
        target.write_text(step.text)
    elif step.action == "append to":
        target.write_text(f"{target.read_text()}\n\n{step.text}")
    else:
        for old, new in replacements(step.text):
            text = target.read_text()
            assert text.count(old) == 1, f"{step.path} holds {text.count(old)} times: {old}"
            target.write_text(text.replace(old, new))


def replacements(diff: str) -> list[tuple[str, str]]:
    """Return the pairs of a diff: lines with - and the lines with + that take their place."""
    pairs: list[tuple[list[str], list[str]]] = []
    for line in diff.splitlines():
        if line.startswith("-") and (not pairs or pairs[-1][1]):
            pairs.append(([], []))
        pairs[-1][line.startswith("+")].append(line[1:])
    return [("\n".join(old), "\n".join(new)) for old, new in pairs]


def test_every_change_has_its_example() -> None:
    assert set(stated_counts()) == {step.section for step in steps()}


@pytest.mark.parametrize("section", stated_counts())
def test_the_files_of_a_change_are_counted(section: str) -> None:
    paths = {step.path for step in steps() if step.section == section and step.action != "then"}
    assert len(paths) == stated_counts()[section]


def test_the_examples_work(prepared: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src", tmp_path / "src")
    folder = Path(shutil.copytree(prepared, tmp_path / "page"))
    for step in steps():
        if step.action != "then":
            apply(step, tmp_path)
    python = [step.text for step in steps() if step.action == "then" and step.language == "python"]
    shell = [line for step in steps() if step.language == "shell" for line in step.text.splitlines()]
    commands = [line.split()[1:] for line in shell]
    program = "\n".join(
        [
            f"import sys; sys.path.insert(0, {str(tmp_path / 'src')!r})",
            *python,
            "import h2q; from h2q.cli import build_app; from typer.testing import CliRunner",
            f"assert h2q.__file__.startswith({str(tmp_path)!r})",
            f"for command in {commands!r}:",
            "    done = CliRunner().invoke(build_app(), command, prog_name='h2q')",
            "    assert done.exit_code == 0, done.output",
        ]
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
