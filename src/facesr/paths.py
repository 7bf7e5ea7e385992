"""Names of the artifacts, relative to the project's root, as in dvc.yaml."""

from pathlib import Path

from facesr import names

REMOVED = Path("removed.csv")
FACES = Path("data/faces")
SELFIES = Path("data/selfies")
TRAIN_PAIRS = Path("data/pairs/train")
VALID_PAIRS = Path("data/pairs/valid")
TEST_PAIRS = Path("data/pairs/test")
SELFIE_PAIRS = Path("data/pairs/selfies")
VALIDATION_SETS = Path("data/pairs/valid_sets")
EVALUATION_SETS = {
    names.FACES: names.EvaluationSet(TEST_PAIRS, FACES),
    names.SELFIES: names.EvaluationSet(SELFIE_PAIRS, SELFIES),
}
GENERATOR_IMAGES = Path("data/generated/generator")
GAN_IMAGES = Path("data/generated/gan")
# What trainings go from and to, for training and validation.
GENERATOR_DATA = [(pairs / "lr", pairs / "hr") for pairs in (TRAIN_PAIRS, VALID_PAIRS)]
CRITIC_DATA, UPSAMPLER_DATA = (
    [(images / "train", TRAIN_PAIRS / "hr"), (images / "valid", VALID_PAIRS / "hr")]
    for images in (GENERATOR_IMAGES, GAN_IMAGES)
)

GENERATOR = Path("models/generator.safetensors")
CRITIC = Path("models/critic.safetensors")
GAN = Path("models/gan.safetensors")
UPSAMPLER = Path("models/upsampler.safetensors")
STARTER = Path("src/facesr/starter/starter.safetensors")

REPORTS = Path("reports")
CHECKPOINTS = Path(".ckpt")
METRICS = Path("reports/metrics.json")
SCORES = Path("reports/evaluate/per_image.csv")
DVC_LOCK = Path("dvc.lock")
