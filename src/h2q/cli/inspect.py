"""``h2q inspect``: statistics of codes, and what is wrong with them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from h2q.cli.common import JsonOption, SeedOption, print_blocks, print_json

if TYPE_CHECKING:
    from h2q.evaluation.diagnosis import CodesDiagnosis

__all__ = ["inspect"]


def inspect(
    codes: Annotated[str, typer.Argument(metavar="CODES", help="Packed codes (uint8); FILE:NAME picks an array.")],
    bits: Annotated[int | None, typer.Option(min=1, help="Bits of a code. Default: the quantizer's, or all.")] = None,
    embeddings: Annotated[
        str | None, typer.Option(metavar="FILE", help="The embeddings behind the codes; needs --quantizer.")
    ] = None,
    quantizer: Annotated[
        Path | None, typer.Option("--quantizer", "-q", help="Quantizer that h2q fit saved; for the quantization error.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(metavar="FILE", help="Class ids or multi-hot rows, to separate similar pairs.")
    ] = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Show statistics of codes, and what is wrong with them.

    Bit balance, entropy and correlation, codes that items share, distances of pairs, quantization error.
    """
    from h2q.cli.evaluate import read_labels
    from h2q.evaluation import diagnose_codes
    from h2q.files import open_array
    from h2q.quantization import load_quantizer
    from h2q.report.document import Bullets, Table, as_rows

    if (embeddings is None) != (quantizer is None):
        missing = "--embeddings" if embeddings is None else "--quantizer"
        raise typer.BadParameter("the quantization error needs both, --embeddings and --quantizer", param_hint=missing)
    stored = open_array(codes)
    if not stored.holds_codes:
        raise ValueError(f"{codes} holds {stored.dtype}; expected packed codes (uint8): h2q encode makes them")
    n_bits, rotated = 8 * stored.shape[1] if bits is None else bits, None
    if embeddings is not None and quantizer is not None:
        fitted = load_quantizer(quantizer)
        if bits is None:
            n_bits = fitted.n_bits_
        rotated = fitted.transform(open_array(embeddings).read())
    diagnosis = diagnose_codes(
        stored.read(), n_bits, rotated=rotated, labels=None if labels is None else read_labels(labels),
        random_state=seed,
    )  # fmt: skip
    if as_json:
        print_json(_as_document(diagnosis))
        return
    rows = as_rows(_as_fields(diagnosis))
    findings = Bullets(diagnosis.findings or ("nothing stands out",))
    print_blocks(Table(columns=("codes", Path(codes).name), rows=rows, text_columns=2), findings)


def _as_document(diagnosis: "CodesDiagnosis") -> dict[str, Any]:
    from dataclasses import asdict

    document = asdict(diagnosis)
    sizes = document.pop("bucket_sizes")
    return document | {
        "distinct_codes": diagnosis.distinct_codes, "largest_bucket": diagnosis.largest_bucket,
        "largest_buckets": sizes[:10],
    }  # fmt: skip


def _as_fields(diagnosis: "CodesDiagnosis") -> list[tuple[str, str]]:
    import numpy as np

    balance, entropy, n, n_bits = diagnosis.bit_balance, diagnosis.bit_entropy, diagnosis.n_items, diagnosis.n_bits
    skewed = int(np.argmax(np.abs(balance - 0.5)))
    fields = [
        ("items", f"{n:,}"),
        ("bits", f"{n_bits}, as varied as {diagnosis.effective_bits:.1f} independent ones"),
        ("distinct codes", f"{diagnosis.distinct_codes:,}, {n / diagnosis.distinct_codes:.2f} items a code"),
        ("largest bucket", f"{diagnosis.largest_bucket:,} items, {100 * diagnosis.largest_bucket / n:.2f}%"),
        ("bit balance", f"{100 * balance.min():.1f}% to {100 * balance.max():.1f}% ones, bit {skewed} is the worst"),
        (
            "entropy",
            f"{entropy.mean():.4f} bits a bit on average, {entropy.min():.4f} at least",
        ),
    ]
    if n_bits > 1:
        correlations = np.abs(diagnosis.bit_correlation[np.triu_indices(n_bits, 1)])
        fields.append(("correlation", f"{correlations.mean():.3f} on average, {correlations.max():.3f} at most"))
    kinds = [("similar pairs", diagnosis.similar_distances), ("dissimilar pairs", diagnosis.dissimilar_distances)]
    for name, counts in kinds if diagnosis.similar_distances is not None else [("pairs", diagnosis.distances)]:
        if counts is not None and counts.sum():
            fields.append((name, _distances_in_words(counts)))
    if diagnosis.separation is not None:
        fields.append(("separation", f"a similar pair is nearer in {100 * diagnosis.separation:.1f}% of the cases"))
    if diagnosis.quantization_error_l2 is not None:
        fields.append(
            (
                "quantization error",
                f"L1 {diagnosis.quantization_error_l1:.4f}, L2 {diagnosis.quantization_error_l2:.4f}",
            )
        )
    return fields


def _distances_in_words(counts: Any) -> str:
    import numpy as np

    shares = np.cumsum(counts) / counts.sum()
    low, middle, high = (int(np.searchsorted(shares, share)) for share in (0.05, 0.5, 0.95))
    return f"{middle} bits apart in the median, 90% from {low} to {high}; {100 * shares[0]:.2f}% share a code"
