"""Measuring a registered version on evaluation images that are newer than it."""

from collections.abc import Mapping
from pathlib import Path

from facesr.names import FULL_SIZE, UPSAMPLED, EvaluationSet


def write_scores(
    weights: Path, set_name: str, table: Path, *, sets: Mapping[str, EvaluationSet], side: int
) -> None:
    """Measure weights on an evaluation set as `evaluate` does, and write a table like its own.

    Args:
        weights: The chain of a registered version.
        set_name: A key of `sets`.
        table: CSV file with the columns of per_image.csv.
        sets: By name.
        side: Of the originals in pixels.

    Raises:
        CheckpointError: The weights are damaged.
        DataError: Pairs are missing.
    """
    # Load PyTorch, which an unchanged pipeline does not need.
    from facesr.data.pairs import HR, LR, load_pairs
    from facesr.enhance.enhancer import Enhancer
    from facesr.evaluation.scores import PRECISION, enhanced_by, score, write_table

    folder = sets[set_name].pairs
    pairs = load_pairs(folder / LR, folder / HR, hr_size=side)
    chain = enhanced_by(Enhancer.from_checkpoint(weights, precision=PRECISION))
    scores = score({UPSAMPLED: chain}, pairs, label=f"champion on {set_name}")
    write_table(table, [(set_name, FULL_SIZE, one) for one in scores])
