"""Measure the networks on held-out faces and selfies, compared with bicubic and Lanczos.

Reads   data/pairs/{test,selfies,valid,valid_sets}, data/{faces,selfies}/manifest.csv,
        models/{generator,gan,upsampler}.safetensors, the starter's weights
Writes  reports/evaluate/, reports/metrics.json
"""

from facesr import cli, paths
from facesr.config import load_params
from facesr.evaluation.evaluate import evaluate


def main() -> None:
    params = load_params()
    evaluate(
        params.evaluate,
        sizes=params.sizes,
        sets=paths.EVALUATION_SETS,
        valid=paths.VALID_PAIRS,
        validation_sets=paths.VALIDATION_SETS,
        generator=paths.GENERATOR,
        gan=paths.GAN,
        upsampler=paths.UPSAMPLER,
        starter=paths.STARTER,
        report=paths.REPORTS / "evaluate",
        summary=paths.METRICS,
    )


if __name__ == "__main__":
    cli.run(main)
