"""Makes MLflow agree with dvc.lock: runs, metrics, and the registered model.

Reads   dvc.lock, reports/, models/{generator,gan,upsampler}.safetensors
Writes  the MLflow store
"""

from pathlib import Path

from facesr import cli, paths
from facesr.config import load_params
from facesr.tracking import publish


def main() -> None:
    """Runs the stage."""
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
    )


if __name__ == "__main__":
    cli.run(main)
