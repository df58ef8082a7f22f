"""Every public name has a docstring with an example that runs: pytest collects those of src/ as doctests.

The example of a class counts for its methods. A name whose example would repeat that of another name is in `SHOWN_BY`,
and that example must call it; the few others without an example are in `WITHOUT`, with the reason.
"""

import doctest
import importlib
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SITE_PAGES = Path(__file__).parents[2] / "scripts" / "site_pages.py"

# Name: the name whose example calls it.
SHOWN_BY = {
    "h2q.experiments.compare_results": "h2q.experiments.run_plan",
    "h2q.experiments.load_results": "h2q.experiments.run_plan",
    "h2q.experiments.status_of": "h2q.experiments.run_plan",
    "h2q.experiments.write_report": "h2q.experiments.run_plan",
}
WITHOUT = {
    "h2q.collections.Collection": "the base of PictureCollection and TextCollection, whose examples show its methods",
    "h2q.experiments.Record": "a line of results.jsonl; the example of run_plan reads the rows made of it",
    "h2q.experiments.Results": "load_results returns it, in the example of run_plan",
    "h2q.experiments.Row": "a row of Results, in the example of run_plan",
    "h2q.experiments.build_report": "the document that write_report writes, for other renderers",
    "h2q.integrations.huggingface.push_to_hub": "uploads; tests/integrations/test_huggingface.py runs it",
    "h2q.web.serve": "runs until the process ends; tests/web/test_server.py starts it",
    "h2q.similarity.TrainedNetwork": "fine_tune returns it, in its example",
}


@pytest.fixture(scope="module")
def site_pages(load_module: Callable[[Path], ModuleType]) -> ModuleType:
    return load_module(SITE_PAGES)


@pytest.fixture(scope="module")
def public(site_pages: ModuleType) -> dict[str, Any]:
    """The classes and functions of each room, of h2q itself, and of each loss; numbers and tables have no docstring."""
    modules = ["h2q", *(f"h2q.{room}" for room in site_pages.ROOMS), "h2q.similarity.losses"]
    folder = site_pages.PACKAGE / "integrations"
    modules += [f"h2q.integrations.{path.stem}" for path in sorted(folder.glob("[!_]*.py"))]
    names = {}
    for module in map(importlib.import_module, modules):
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            if inspect.isclass(value) or inspect.isroutine(value):
                names[f"{module.__name__}.{name}"] = value
    return names


def examples(value: Any) -> list[doctest.Example]:
    """Return the examples of a docstring that run."""
    found = doctest.DocTestParser().get_examples(inspect.getdoc(value) or "")
    return [example for example in found if not example.options.get(doctest.SKIP)]


def test_the_walk_reaches_every_room(public: dict[str, Any]) -> None:
    assert {
        "h2q.BinaryIndex", "h2q.converters.to_hex", "h2q.evaluation.recall", "h2q.integrations.faiss.with_rotation",
        "h2q.plots.plot_rotation", "h2q.similarity.losses.DCH", "h2q.similarity.train_head",
    } <= set(public)  # fmt: skip


def test_every_public_name_has_an_example(public: dict[str, Any]) -> None:
    missing = [name for name, value in public.items() if not examples(value)]
    unexplained = [name for name in missing if name not in SHOWN_BY and name not in WITHOUT]
    assert not unexplained, "add an Examples section to the docstring of each"
    assert sorted({*SHOWN_BY, *WITHOUT} - set(missing)) == [], "these have an example now: take them out"


@pytest.mark.parametrize(("name", "shown_by"), SHOWN_BY.items())
def test_the_example_of_another_name_calls_it(public: dict[str, Any], name: str, shown_by: str) -> None:
    text = "".join(example.source for example in examples(public[shown_by]))
    assert f"{name.rpartition('.')[2]}(" in text


def test_a_loss_has_its_formula_its_source_and_every_option(site_pages: ModuleType) -> None:
    for name, identifier in site_pages.losses().items():
        module, _, attribute = identifier.rpartition(".")
        loss = getattr(importlib.import_module(module), attribute)
        text = inspect.getdoc(loss) or ""
        assert "::\n" in text, f"{name} has no formula"
        assert "Source: " in text, f"{name} names no paper"
        options = [option for option in inspect.signature(loss).parameters if option not in ("args", "kwargs")]
        assert all(re.search(rf"^[\w, ]*\b{option}\b[\w, ]*( :|$)", text, re.MULTILINE) for option in options), name
