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
    from facesr.enhance.enhancer import Enhancer
    from facesr.evaluation.scores import PRECISION, enhanced_by, score_set, write_table

    chain = enhanced_by(Enhancer.from_checkpoint(weights, precision=PRECISION))
    label = f"champion on {set_name}"
    scores = score_set({UPSAMPLED: chain}, sets[set_name].pairs, side=side, label=label)
    write_table(table, [(set_name, FULL_SIZE, one) for one in scores])
