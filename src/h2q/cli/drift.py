"""``h2q drift``: whether new embeddings are still like those that an index was fitted on."""

from typing import Annotated

import typer

from h2q.cli.common import EmbeddingsArgument, JsonOption, print_json, print_paragraph, print_table

__all__ = ["drift"]


def drift(
    index: Annotated[str, typer.Argument(metavar="INDEX", help="Folder of the index, or another address.")],
    embeddings: EmbeddingsArgument,
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference",
            help="File of embeddings to compare with. Default: what the quantizer stored when it was fitted.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether new embeddings have moved away from what the quantizer was fitted on, and whether to refit.

    Where the index keeps embeddings, recall is measured, too. The thresholds were calibrated on real data; see
    docs/drift.md.
    """
    from dataclasses import asdict

    from h2q.files import open_array
    from h2q.index import open_index

    opened, stored = open_index(index), open_array(embeddings)
    given = None if reference is None else open_array(reference).for_fit()
    result = opened.drift(stored.for_fit(), reference=given)
    if as_json:
        words = {"drifted": result.drifted, "refit": result.refit, "summary": result.summary}
        print_json({"index": index, **asdict(result), **words})
        return
    rows = [
        (
            measure.name.replace("_", " "),
            f"{measure.value:.3f}",
            f"{measure.threshold:g}",
            "yes" if measure.exceeded else "",
        )
        for measure in result.measures
    ]
    print_table(["measure", "value", "threshold", "above"], rows)
    print_paragraph(result.summary)
