"""Pages of the documentation site that are made, not written: a hook of MkDocs (mkdocs.yml).

`index.md` is README.md, `benchmarks/` holds the Markdown of the benchmarks, and `reference/` has a page for every room
with public names, for every loss and for every command; `notebooks/` shows the text and the code of the notebooks.
The site has no second copy of anything.
"""

import ast
import json
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "h2q"
# In the order of the data.
ROOMS = (
    "quantization", "index", "hamming", "evaluation", "comparison", "similarity", "hasher", "datasets", "plots",
    "converters", "collections", "encoding", "integrations", "experiments", "web",
)  # fmt: skip
# Folders beside docs/, which the site has inside: links from the pages are changed accordingly.
OUTSIDE = re.compile(r"\]\((?:\.\./)*(?:(benchmarks/[\w/.]+)\.md|examples/(notebooks/\w+)\.ipynb)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the pages of the reference to the navigation."""
    reference = next(entry["Reference"] for entry in config.nav or [] if "Reference" in entry)
    reference.append({"Commands": [f"reference/commands/{name}.md" for name in commands()]})
    reference.append({"Library": [f"reference/{room}.md" for room in ROOMS]})
    reference.append({"Each loss": [f"reference/losses/{name}.md" for name in losses()]})
    start = next(entry["Start"] for entry in config.nav or [] if "Start" in entry)
    start.append({"Notebooks": [f"notebooks/{path.stem}.md" for path in notebooks()]})
    reproduce = next(entry["Reproduce"] for entry in config.nav or [] if "Reproduce" in entry)
    reproduce.append({"Benchmarks": [path.relative_to(ROOT).as_posix() for path in benchmarks()]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    pages = {"index.md": (ROOT / "README.md").read_text().replace("](docs/", "](")}
    pages["CITATION.cff"] = (ROOT / "CITATION.cff").read_text()
    pages |= {path.relative_to(ROOT).as_posix(): path.read_text().replace("../docs/", "../") for path in benchmarks()}
    pages |= {f"notebooks/{path.stem}.md": notebook_text(path) for path in notebooks()}
    for room in ROOMS:
        names = (f"::: {name}\n" for name in public_names(PACKAGE / room))
        pages[f"reference/{room}.md"] = "\n".join([f"# h2q.{room}\n", *names])
    for name, identifier in losses().items():
        pages[f"reference/losses/{name}.md"] = f"::: {identifier}\n    options:\n      heading_level: 1\n"
    for name, text in commands().items():
        pages[f"reference/commands/{name}.md"] = text
    for address, content in pages.items():
        files.append(File.generated(config, address, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead the links to the benchmarks and the notebooks to their pages on the site."""
    depth = page.file.src_uri.count("/")
    return OUTSIDE.sub(lambda link: f"]({'../' * depth}{link[1] or link[2]}.md", markdown)


def benchmarks() -> list[Path]:
    """Return the files of measurements, the summary first."""
    return [ROOT / "benchmarks" / "RESULTS.md", *sorted((ROOT / "benchmarks" / "results").glob("*.md"))]


def notebooks() -> list[Path]:
    """Return the notebooks, the one that needs no training first."""
    return sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"), reverse=True)


def notebook_text(path: Path) -> str:
    """Return the text and the code of a notebook, which has no outputs."""
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(path.read_text())["cells"]]
    parts = [f"```python\n{source}\n```" if kind == "code" else source for kind, source in cells]
    return "\n\n".join([*parts, f"Run it: `jupyter lab examples/notebooks/{path.name}` in a checkout.\n"])


def public_names(room: Path) -> list[str]:
    """Return the dotted names of what a room gives its users: what its `__init__` imports, or else its modules."""
    stub = room / "__init__.pyi"
    tree = ast.parse((stub if stub.exists() else room / "__init__.py").read_text())
    package = f"h2q.{room.relative_to(PACKAGE).as_posix().replace('/', '.')}"
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    modules = {node: f"{package}.{node.module}" if node.level == 1 else str(node.module) for node in imports}
    names = [
        f"{module}.{alias.name}"
        for node, module in modules.items()
        if module.startswith(f"{package}.") and not module.startswith(f"{package}.losses")
        for alias in node.names
    ]
    return names or [f"{package}.{path.stem}" for path in sorted(room.glob("[!_]*.py"))]


def losses() -> dict[str, str]:
    """Return the dotted name of each loss by its name, in alphabetic order."""
    from h2q.similarity.losses import LOSSES
    from h2q.similarity.losses.registry import UNSUPERVISED_LOSSES

    classes = {**LOSSES, **UNSUPERVISED_LOSSES}
    return {name: f"{classes[name].__module__}.{classes[name].__name__}" for name in sorted(classes, key=str.lower)}


def commands() -> dict[str, str]:
    """Return the page of each command by its name, made from its help."""
    import typer
    from typer.cli import get_docs_for_click

    from h2q.cli import build_app

    app = typer.main.get_command(build_app())
    context = typer.Context(app, info_name="h2q")
    return {
        name: get_docs_for_click(obj=app.get_command(context, name), ctx=context, name=name, call_prefix="h2q")
        for name in app.list_commands(context)
    }
