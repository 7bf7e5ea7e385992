"""Make MLflow agree with dvc.lock: runs, metrics, and the registered model.

Reads   dvc.lock, reports/, models/{generator,gan,upsampler}.safetensors,
        data/pairs/{test,selfies} where the champion is measured anew
Writes  the MLflow store
"""

from functools import partial
from pathlib import Path

from facesr import cli, paths
from facesr.config import load_params
from facesr.evaluation.remeasure import write_scores
from facesr.tracking import publish


def main() -> None:
    params = load_params(any_device=True)
    publish(
        Path.cwd(),
        lock=paths.DVC_LOCK,
        reports=paths.REPORTS,
        metrics=paths.METRICS,
        scores=paths.SCORES,
        networks=[paths.GAN, paths.UPSAMPLER],
        fidelity=paths.GENERATOR,
        profile=params.profile,
        gate=params.publish,
        sets=paths.EVALUATION_SETS,
        measure=partial(write_scores, sets=paths.EVALUATION_SETS, side=params.sizes.hr_size),
    )


if __name__ == "__main__":
    cli.run(main)
