"""The two stages of the demo: where embeddings come from, and which quantizers turn them into codes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

from h2q.comparison import Contender, EmbeddedFolds, default_contenders, embed_folds
from h2q.demo.data import DemoData

__all__ = ["K_RECALL", "LEARNING_MODULES", "Entry", "Stage", "frozen_stage", "learned_stage"]

K_RECALL = 10
LEARNING_MODULES = ("torch", "lightning")
FROZEN_LENGTHS = (16, 64, 128)
LEARNED_LENGTHS = (16, 64)  # each takes three heads
FULL_LEARNED_LENGTHS = (16, 32, 48, 64)
LOSS = "CosineEmbedding"
# For each variant of the embeddings the penalty and its weight: of six weights from 0.001 to 0.3 (L2) and five from
# 0.03 to 3 (HSWD), the one whose sign codes had the highest mean mAP at 16 and 64 bits on the validation fold.
PENALTY_WEIGHTS = {"L2 penalty": ("l2", 0.003), "HSWD": ("hswd", 0.3)}
_FURTHER_OBJECTIVES = ("l1", "min_entry", "bit_variance")
_OWN_OPTIONS = {"itq": {"n_init": 5}}


@dataclass(frozen=True)
class Entry:
    """A quantizer of a stage.

    Attributes
    ----------
    contender : Contender
        The quantizer.
    variant : str
        Which embeddings of the stage it quantizes; "" for those of the method itself.
    """

    contender: Contender
    variant: str = ""


@dataclass(frozen=True)
class Stage:
    """Embeddings, and the quantizers that turn them into codes.

    Attributes
    ----------
    title : str
        Title of its table.
    lengths : tuple of int
        Bits of the codes.
    embed : callable
        Takes bits and variant, returns the embedded folds; those of a frozen network are the same at every length.
    entries : tuple of Entry
        The quantizers, in the order of the table.
    is_learned : bool
        Whether the embeddings were learned from labels.
    """

    title: str
    lengths: tuple[int, ...]
    embed: Callable[[int, str], EmbeddedFolds]
    entries: tuple[Entry, ...] = field(default=())
    is_learned: bool = False


def frozen_stage(data: DemoData, lengths: tuple[int, ...] = FROZEN_LENGTHS) -> Stage:
    """Return the stage whose embeddings are the frozen features themselves."""
    folds = embed_folds(data.features, data.labels, data.folds, k=K_RECALL, n_components=max(lengths))
    width = data.features.shape[1]
    entries = tuple(map(Entry, default_contenders(own_options=_OWN_OPTIONS)))
    return Stage(data.title, tuple(sorted({min(n_bits, width) for n_bits in lengths})), lambda *_: folds, entries)


def learned_stage(data: DemoData, lengths: tuple[int, ...] = LEARNED_LENGTHS, *, random_state: int = 0) -> Stage:
    """Return the stage whose embeddings come from heads, each trained on the training images when first asked for."""
    train = data.folds["train"]

    @cache
    def embed(n_bits: int, variant: str) -> EmbeddedFolds:
        from h2q.similarity.frozen import train_head
        from h2q.similarity.penalties import WeightedPenalty

        head = train_head(
            data.features[train],
            data.labels[train],
            loss=LOSS,
            n_bits=n_bits,
            penalty=WeightedPenalty(*PENALTY_WEIGHTS[variant]) if variant else None,
            random_state=random_state,
        )
        return embed_folds(head.embed(data.features), data.labels, data.folds, k=K_RECALL)

    title = f"the same images, embeddings learned from {len(train):,} of them ({LOSS})"
    return Stage(title, lengths, embed, _learned_entries(), is_learned=True)


def _learned_entries() -> tuple[Entry, ...]:
    """Return every quantizer, sign after each penalty, and H²Q with the objectives of its paper."""
    shared = {"center": False}  # as in the paper: heads learn where zero is
    entries = []
    for contender in default_contenders(shared, _OWN_OPTIONS):
        entries.append(Entry(contender))
        if contender.quantizer == "sign":
            entries += [Entry(Contender(f"sign + {variant}", "sign", shared), variant) for variant in PENALTY_WEIGHTS]
        if contender.quantizer == "h2q":
            entries += [
                Entry(Contender(f"{contender.label} {name}", "h2q", {**shared, "objective": name}))
                for name in _FURTHER_OBJECTIVES
            ]
    return tuple(entries)
