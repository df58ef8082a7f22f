"""Stage one in the demo: heads on the frozen features, trained for similarity alone; with penalties as baselines."""

import importlib.util
from functools import cache

from h2q.demo.data import DemoData
from h2q.demo.run import Stage
from h2q.demo.scores import CONTENDERS, Contender, Embedded, embed_folds
from h2q.quantization import OBJECTIVES, HouseholderQuantizer, SignQuantizer

__all__ = ["LENGTHS", "LOSS", "learned_stage", "missing_for_learning"]

LENGTHS = (16, 64)  # each takes three heads
FULL_LENGTHS = (16, 32, 48, 64)
LOSS = "CosineEmbedding"
# Of each variant of the embeddings: the penalty, and the weight of six from 0.001 to 0.3 (L2) and five from 0.03 to 3
# (HSWD) whose sign codes had the highest mean mAP at 16 and 64 bits on the validation fold.
PENALTY_WEIGHTS = {"L2 penalty": ("l2", 0.003), "HSWD": ("hswd", 0.3)}
_UNCENTERED = ("center", False)  # the paper's setting: heads learn where zero is


def missing_for_learning() -> str | None:
    """Return what to install before heads can be trained, or None."""
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("lightning") is None:
        return 'Stage one, learning embeddings, is left out: pip install "h2q[learn]"'
    return None


def contenders() -> tuple[Contender, ...]:
    """Return sign, sign after each penalty, random rotation, ITQ, and H²Q with each objective."""
    rows = []
    for contender in CONTENDERS:
        rows.append(Contender(contender.label, contender.make, (*contender.options, _UNCENTERED)))
        if contender.make is SignQuantizer:
            rows += [
                Contender(f"sign, {variant}", SignQuantizer, (_UNCENTERED,), variant) for variant in PENALTY_WEIGHTS
            ]
    others = [name for name in OBJECTIVES if name != "l2"]
    rows += [Contender(f"H²Q {name}", HouseholderQuantizer, (("objective", name), _UNCENTERED)) for name in others]
    return tuple(rows)


def learned_stage(data: DemoData, *, full: bool = False, random_state: int = 0) -> Stage:
    """Return the stage whose embeddings come from heads: trained on the training images, when they are asked for."""
    from h2q.similarity.frozen import train_head
    from h2q.similarity.penalties import WeightedPenalty

    train = data.folds["train"]

    @cache
    def embed(n_bits: int, variant: str) -> Embedded:
        penalty = WeightedPenalty(*PENALTY_WEIGHTS[variant]) if variant else None
        head = train_head(
            data.features[train],
            data.labels[train],
            loss=LOSS,
            n_bits=n_bits,
            penalty=penalty,
            random_state=random_state,
        )
        return embed_folds(head.embed(data.features), data.labels, data.folds)

    title = f"the same images, embeddings learned from {len(train):,} of them ({LOSS})"
    return Stage(title, FULL_LENGTHS if full else LENGTHS, embed, contenders())
