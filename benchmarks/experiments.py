"""The experiments of `benchmarks.campaign`, each with what it changes and what it is compared with.

What an experiment says is a part of its key: one that reads otherwise is trained again.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
PICTURES = 320
"""Drawn pictures of a short training."""
SHARE_TRAINED = 0.9
STEPS = 1500
"""Of a short training; schedules with other crops see as many pixels."""

GENERATOR = ("train_generator",)
GAN = ("train_critic", "train_gan")
BASE = {
    "degrade.fresh": False,
    "degrade.fresh_sizes": [1.0, 1.0],
    "train_generator.init_from": "",
    "train_generator.content": {"l1": 1.0},
}
"""What every training has unless it says otherwise, whatever the starter was trained with."""
PHASE = {"crop_size": 40, "batch_size": 8, "learning_rate": 6.0e-4, "encoder_learning_rate": 6.0e-4}


class Experiment(NamedTuple):
    """One training or one way to use a trained network."""

    question: str
    changes: Mapping[str, Any] = {}
    """Dotted names below the profile."""
    than: str = "base"
    """The experiment that it is compared with."""
    pictures: str = "generated"
    """Trained on: generated, faces, both, wide, which has faces of other sizes as well, people,
    which has other people of every source that is measured, or scales, which has more sizes."""
    start: str = ""
    """Experiment or weights file that is gone on from."""
    stages: tuple[str, ...] = GENERATOR
    options: Mapping[str, Any] = {}
    """Of Enhancer.enhance."""
    seed_offset: int = 0
    mean_of: tuple[str, ...] = ()
    """Experiments whose weights are averaged, instead of a training."""


def phases(*changes: Mapping[str, Any]) -> dict[str, Any]:
    """A schedule of the common number of pixels, shared out among its phases."""
    rows = []
    for change in changes:
        phase = {**PHASE, **change}
        crops = STEPS * PHASE["batch_size"] * PHASE["crop_size"] ** 2 / phase["crop_size"] ** 2
        epochs = round(crops / len(changes) / (PICTURES * SHARE_TRAINED))
        rows.append({**phase, "epochs": max(1, epochs)})
    return {"train_generator.phases": rows, "train_generator.crops_per_pair": 1}


def long(count: int, epochs: int, learning_rate: float, batch_size: int = 8) -> dict[str, Any]:
    """A schedule over so many pictures, twelve crops of each in an epoch."""
    rates = {"learning_rate": learning_rate, "encoder_learning_rate": learning_rate}
    return {
        "fetch_faces.count": count,
        "train_generator.crops_per_pair": 12,
        "train_generator.phases": [{**PHASE, "batch_size": batch_size, "epochs": epochs, **rates}],
    }


NETWORK = {
    "kind": "residual_unet",
    "backbone": "resnet18",
    "pretrained": False,
    "width": 64,
    "levels": 2,
    "decoder_blocks": 1,
    "body_blocks": 8,
    "unshuffle": 1,
    "head": "direct",
}
STARTER = str(ROOT / "src/facesr/starter/starter.safetensors")
TUNE = phases({"learning_rate": 2.0e-4, "encoder_learning_rate": 2.0e-4})
FRESH = {"train_generator.content": {"log_mse": 1.0}, "degrade.fresh": True}
TUNE_FRESH = TUNE | FRESH
BEST = long(640, epochs=16, learning_rate=4.0e-4) | FRESH
DEEP = {"train_generator.network": {**NETWORK, "body_blocks": 16}, **BEST}


def go_on(question: str, start: str, pictures: str, schedule: Mapping[str, Any]) -> Experiment:
    """A deep network goes on, half of its input clean, and is compared with where it began."""
    return Experiment(
        question,
        {**DEEP, **schedule, "degrade.recipe": "columns"},
        start=start,
        than=start,
        pictures=pictures,
    )


def ensemble(name: str) -> Experiment:
    """Another row's network, used eight times."""
    return Experiment(
        "its mean over eight mirrored and turned results",
        start=name,
        than=name,
        stages=(),
        options={"self_ensemble": True},
    )


def mean(question: str, *names: str) -> Experiment:
    """The mean of the weights of other rows, the last of which it is compared with."""
    return Experiment(question, than=names[-1], stages=(), mean_of=names)


def gan(
    question: str,
    *,
    critic: Mapping[str, Any] | None = None,
    start: str = "shipped",
    pictures: str = "faces",
    **changes: Any,
) -> Experiment:
    """An adversarial training of some minutes, from the starter on faces if nothing is said."""
    base = {
        "batches": 1600,
        "batch_size": 8,
        "crop_size": 32,
        "generator_learning_rate": 1.0e-4,
        "critic_learning_rate": 4.0e-4,
        "beta1": 0.0,
        "ema_decay": 0.99,
        "adversarial_loss": "relativistic",
        "adversarial_weight": 2.0e-2,
    }
    patch = {"kind": "patch_critic", "features": 32, "blocks": 3, "dropout": 0.0}
    return Experiment(
        f"GAN: {question}",
        {
            "train_critic.network": critic or patch,
            **{f"train_gan.{name}": value for name, value in (base | changes).items()},
        },
        than=start,
        start=STARTER if start == "shipped" else start,
        stages=GAN,
        pictures=pictures,
    )


def long_gan(question: str, start: str, pictures: str, **changes: Any) -> Experiment:
    """A GAN from a long training, held to the original by squared error if nothing is said."""
    content = {"content": {"mse": 16.0}}
    return gan(question, start=start, pictures=pictures, **(content | changes))


HELD = {"mse": 6.0, "local_log_mse": 0.012}
"""The content of gan-on, which others add to."""


def detail_gan(question: str, start: str, *, local_energy: float, **changes: Any) -> Experiment:
    """A GAN held as gan-on is, and asked for detail where the original has some."""
    content = {**HELD, "local_energy": local_energy}
    return long_gan(question, start, "people", content=content, **changes)


def grained(question: str, *, batches: int) -> Experiment:
    """A GAN held as gan-mask is, with grain."""
    return detail_gan(
        question,
        "scales-on-mean",
        local_energy=0.04,
        adversarial_weight=4.0e-3,
        epsilon=1.0e-8,
        batches=batches,
        grain={"crops": 3000, "share": 0.85},
    )


EXPERIMENTS = {
    "base": Experiment("L1, mild degradations, 8 crops of 40 px"),
    "seed": Experiment("how much is chance?", seed_offset=1),
    "charbonnier": Experiment("Charbonnier", {"train_generator.content": {"charbonnier": 1.0}}),
    "ms-ssim": Experiment("L1 + MS-SSIM", {"train_generator.content": {"l1": 1.0, "ms_ssim": 0.1}}),
    "mse": Experiment("squared error", {"train_generator.content": {"mse": 10.0}}),
    "log-mse": Experiment(
        "the logarithm of the squared error", {"train_generator.content": {"log_mse": 1.0}}
    ),
    "epsilon": Experiment("Adam's epsilon of 1e-5", {"train_generator.epsilon": 1.0e-5}),
    "wavelet": Experiment(
        "L1 + wavelet detail", {"train_generator.content": {"l1": 1.0, "high_frequency": 0.1}}
    ),
    "resnet34": Experiment(
        "a ResNet34 for context", {"train_generator.network": {**NETWORK, "backbone": "resnet34"}}
    ),
    "no-unet": Experiment(
        "no coarse grid: the same cost in residual blocks",
        {"train_generator.network": {**NETWORK, "levels": 1, "body_blocks": 11}},
    ),
    "more-unet": Experiment(
        "a third grid for two blocks of detail",
        {"train_generator.network": {**NETWORK, "levels": 3, "body_blocks": 6}},
    ),
    "narrow": Experiment(
        "half the width, twice the steps",
        {
            "train_generator.network": {**NETWORK, "width": 32},
            **phases({"batch_size": 16}, {"batch_size": 16}),
        },
    ),
    "large-crops": Experiment("3 crops of 64 px", phases({"crop_size": 64, "batch_size": 3})),
    "small-crops": Experiment("22 crops of 24 px", phases({"crop_size": 24, "batch_size": 22})),
    "growing-crops": Experiment(
        "crops of 24, then 40, then 64 px",
        phases({"crop_size": 24, "batch_size": 22}, {}, {"crop_size": 64, "batch_size": 3}),
    ),
    "fast": Experiment(
        "twice the rate", phases({"learning_rate": 1.2e-3, "encoder_learning_rate": 1.2e-3})
    ),
    "clean": Experiment("clean reductions only", {"degrade.recipe": "bicubic"}),
    "mixture": Experiment("recipe mixture", {"degrade.recipe": "mixture"}),
    "broad": Experiment(
        "recipe broad: two thirds mild, one third of mixture", {"degrade.recipe": "broad"}
    ),
    "fresh": Experiment("a new degradation of every crop", {"degrade.fresh": True}),
    "faces": Experiment("faces alone", pictures="faces"),
    "both": Experiment("generated pictures and faces", pictures="both"),
    "shipped": Experiment("the starter that ships, as it is", start=STARTER, stages=()),
    "tune-generated": Experiment(
        "the starter, tuned on generated pictures", TUNE, start=STARTER, than="shipped"
    ),
    "tune-faces": Experiment(
        "the starter, tuned on faces", TUNE, start=STARTER, than="shipped", pictures="faces"
    ),
    "tune-both": Experiment(
        "the starter, tuned on both", TUNE, start=STARTER, than="shipped", pictures="both"
    ),
    "tune-fresh": Experiment(
        "the starter, tuned on generated pictures, fresh degradations",
        TUNE_FRESH,
        start=STARTER,
        than="shipped",
    ),
    "tune-sizes": Experiment(
        "the same, of all sizes from a quarter on",
        {**TUNE_FRESH, "degrade.fresh_sizes": [0.25, 1.0]},
        start=STARTER,
        than="tune-fresh",
    ),
    "back-projection": Experiment(
        "two back-projections afterwards",
        start=STARTER,
        than="shipped",
        stages=(),
        options={"back_projections": 2},
    ),
    "no-colour-fix": Experiment(
        "no colour fix", start=STARTER, than="shipped", stages=(), options={"colour": "none"}
    ),
    "self-ensemble": Experiment(
        "mean of eight mirrored and turned results",
        start=STARTER,
        than="shipped",
        stages=(),
        options={"self_ensemble": True},
    ),
    "tune-long": Experiment(
        "the starter, tuned on both, four times as long",
        long(576, epochs=6, learning_rate=3.0e-4),
        start=STARTER,
        than="shipped",
        pictures="both",
    ),
    "tune-wide": Experiment(
        "the starter, tuned on faces of three sizes",
        long(640, epochs=2, learning_rate=2.0e-4),
        start=STARTER,
        than="shipped",
        pictures="wide",
    ),
    "tune-best": Experiment(
        "the logarithm of the squared error, eight times as long, fresh degradations",
        BEST,
        start=STARTER,
        than="shipped",
        pictures="wide",
    ),
    "tune-on": Experiment(
        "tune-best once more as long, from where it ended",
        BEST,
        start="tune-best",
        than="tune-best",
        pictures="wide",
    ),
    "tune-deep": Experiment(
        "twice the blocks behind the starter's, other people of all three sources",
        {**DEEP, **long(660, 21, 4.0e-4)},
        start=STARTER,
        than="shipped",
        pictures="people",
    ),
    "deep-on": go_on(
        "tune-deep twice as long again, half of the input clean",
        "tune-deep",
        "people",
        long(660, 40, 4.0e-4, batch_size=16),
    ),
    "deep-mean": mean("the mean of the weights of both", "tune-deep", "deep-on"),
    "mean-scales": go_on(
        "deep-mean goes on for a sixth of that, faces of six sizes",
        "deep-mean",
        "scales",
        long(900, 5, 2.0e-4, batch_size=16),
    ),
    "scales-mean": mean("the mean of the weights of both", "deep-mean", "mean-scales"),
    "scales-on": go_on(
        "scales-mean goes on five times as long as mean-scales",
        "scales-mean",
        "scales",
        long(900, 24, 3.0e-4, batch_size=16),
    ),
    "scales-on-mean": mean("the mean of the weights of both", "scales-mean", "scales-on"),
    "best-ensemble": ensemble("tune-best"),
    "deep-ensemble": ensemble("tune-deep"),
    "mean-ensemble": ensemble("deep-mean"),
    "scales-ensemble": ensemble("scales-mean"),
    "on-ensemble": ensemble("tune-on"),
    "scales-on-ensemble": ensemble("scales-on-mean"),
    "gan": gan("patch critic, relativistic, 0.02"),
    "gan-strong": gan("weight 0.1", adversarial_weight=0.1),
    "gan-best": long_gan(
        "from tune-on, on its pictures, squared error, weight 0.04",
        "tune-on",
        "wide",
        adversarial_weight=4.0e-2,
    ),
    "gan-best-light": long_gan(
        "the same, weight 0.033", "tune-on", "wide", adversarial_weight=3.3e-2
    ),
    "gan-deep": long_gan(
        "the same from tune-deep, on its pictures",
        "tune-deep",
        "people",
        adversarial_weight=3.3e-2,
    ),
    "gan-local": long_gan(
        "held patch by patch, the less the more the input leaves open",
        "tune-deep",
        "people",
        content={"local_log_mse": 0.03},
        adversarial_weight=3.3e-2,
    ),
    "gan-on": long_gan(
        "from deep-on, held by both, twice as long",
        "deep-on",
        "people",
        content=HELD,
        adversarial_weight=3.3e-2,
        batches=3200,
    ),
    "gan-octaves": detail_gan(
        "gan-on and detail of the original's coarseness, patch by patch",
        "deep-on",
        local_energy=0.006,
        adversarial_weight=3.3e-2,
        batches=3200,
    ),
    "gan-calm": detail_gan(
        "three times as much of it, half the critic's weight, half as long",
        "deep-on",
        local_energy=0.018,
        adversarial_weight=1.6e-2,
    ),
    "gan-linear": detail_gan(
        "energies compared by their differences, a quarter of gan-on's steps",
        "deep-on",
        local_energy=0.02,
        adversarial_weight=1.6e-2,
        epsilon=1.0e-8,
        batches=800,
    ),
    "gan-sharp": detail_gan(
        "the same from scales-on-mean, more of both, twice as long",
        "scales-on-mean",
        local_energy=0.03,
        adversarial_weight=2.0e-2,
        epsilon=1.0e-8,
    ),
    "gan-mask": detail_gan(
        "gan-linear from scales-on-mean, a quarter of the critic, twice the energy",
        "scales-on-mean",
        local_energy=0.04,
        adversarial_weight=4.0e-3,
        epsilon=1.0e-8,
        batches=800,
    ),
    "gan-grain": grained("gan-mask, and grain for what is missing", batches=800),
    "gan-grain-half": grained("half of gan-grain's steps, more grain", batches=400),
    "gan-adam": gan("Adam's epsilon of 1e-8", epsilon=1.0e-8),
    "gan-hinge": gan("hinge", adversarial_loss="hinge"),
    "gan-features": gan("+ the critic's features", feature_weight=0.1),
    "gan-texture": gan("+ Gram matrices of the critic's features", texture_weight=1.0),
    "gan-no-average": gan("the last step instead of EMA", ema_decay=0.0),
    "gan-unet-critic": gan("U-Net critic", critic={"kind": "unet_critic", "features": 32}),
    "gan-energy": gan(
        "+ as much gradient energy as the original", content={"l1": 1.0, "gradient_energy": 0.02}
    ),
    "gan-light": gan(
        "weight 0.006, more for gradient energy",
        content={"l1": 1.0, "gradient_energy": 0.03},
        adversarial_weight=6.0e-3,
    ),
    "energy": gan(
        "as much gradient energy, no critic's opinion",
        content={"l1": 1.0, "gradient_energy": 0.02},
        adversarial_weight=0.0,
    ),
}
