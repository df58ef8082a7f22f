"""``h2q inspect``: what codes are like, and what is wrong with them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from h2q.cli.common import JsonOption, SeedOption, print_fields, print_json, print_paragraph

if TYPE_CHECKING:
    from h2q.evaluation.diagnosis import CodesDiagnosis

__all__ = ["inspect"]


def inspect(
    codes: Annotated[str, typer.Argument(metavar="CODES", help="Packed codes (uint8); FILE:NAME picks an array.")],
    bits: Annotated[int | None, typer.Option(min=1, help="Bits of a code. Default: the quantizer's, or all.")] = None,
    embeddings: Annotated[
        str | None, typer.Option(metavar="FILE", help="What the codes were made from; needs --quantizer.")
    ] = None,
    quantizer: Annotated[
        Path | None, typer.Option("--quantizer", "-q", help="What h2q fit saved; for the quantization error.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(metavar="FILE", help="Class ids or multi-hot rows: how well pairs are kept apart.")
    ] = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Say what codes are like, and what is wrong with them.

    Bit balance, entropy and correlation, codes that items share, distances of pairs, quantization error.
    """
    from h2q.cli.evaluate import read_labels
    from h2q.evaluation import diagnose_codes
    from h2q.files import open_array
    from h2q.quantization import load_quantizer

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
    found = diagnose_codes(
        stored.read(), n_bits, rotated=rotated, labels=None if labels is None else read_labels(labels),
        random_state=seed,
    )  # fmt: skip
    if as_json:
        print_json(_as_document(found))
        return
    print_fields(_as_fields(found))
    print()
    for finding in found.findings or ("nothing stands out",):
        print_paragraph(finding)


def _as_document(found: "CodesDiagnosis") -> dict[str, Any]:
    from dataclasses import asdict

    document = asdict(found)
    sizes = document.pop("bucket_sizes")
    return document | {
        "distinct_codes": found.distinct_codes, "largest_bucket": found.largest_bucket, "largest_buckets": sizes[:10]
    }  # fmt: skip


def _as_fields(found: "CodesDiagnosis") -> list[tuple[str, str]]:
    import numpy as np

    balance, n, n_bits = found.bit_balance, found.n_items, found.n_bits
    skewed = int(np.argmax(np.abs(balance - 0.5)))
    fields = [
        ("items", f"{n:,}"),
        ("bits", f"{n_bits}, varying like {found.effective_bits:.1f} independent ones"),
        ("distinct codes", f"{found.distinct_codes:,}, {n / found.distinct_codes:.2f} items a code"),
        ("largest bucket", f"{found.largest_bucket:,} items, {100 * found.largest_bucket / n:.2f}%"),
        ("bit balance", f"{100 * balance.min():.1f}% to {100 * balance.max():.1f}% ones, bit {skewed} the worst"),
        ("entropy", f"{found.bit_entropy.mean():.4f} bits a bit on average, {found.bit_entropy.min():.4f} the least"),
    ]
    if n_bits > 1:
        correlations = np.abs(found.bit_correlation[np.triu_indices(n_bits, 1)])
        fields.append(("correlation", f"{correlations.mean():.3f} on average, {correlations.max():.3f} at most"))
    kinds = [("similar pairs", found.similar_distances), ("dissimilar pairs", found.dissimilar_distances)]
    for name, counts in kinds if found.similar_distances is not None else [("pairs", found.distances)]:
        if counts is not None and counts.sum():
            fields.append((name, _distances_in_words(counts)))
    if found.separation is not None:
        fields.append(("separation", f"a similar pair is nearer in {100 * found.separation:.1f}% of the cases"))
    if found.quantization_error_l2 is not None:
        fields.append(
            ("quantization error", f"L1 {found.quantization_error_l1:.4f}, L2 {found.quantization_error_l2:.4f}")
        )
    return fields


def _distances_in_words(counts: Any) -> str:
    import numpy as np

    shares = np.cumsum(counts) / counts.sum()
    low, middle, high = (int(np.searchsorted(shares, share)) for share in (0.05, 0.5, 0.95))
    return f"{middle} bits apart in the median, 90% from {low} to {high}; {100 * shares[0]:.2f}% share a code"
