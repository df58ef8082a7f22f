"""Turns the literal blocks of docstrings ("::" at the end of a line) into Markdown, for the documentation site."""

import re
from typing import Any

import griffe


class LiteralBlocks(griffe.Extension):
    """Replaces "::" before an indented block by ":"; Markdown shows the block as it is."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change the docstring of an object that has been read."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"::(?=\n\n +)", ":", obj.docstring.value)
