"""Typed, strict, frozen view of params.yaml, and the only reader of YAML.

There are no defaults: a line deleted from params.yaml is an error.
"""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from facesr.errors import ParamsError
from facesr.names import FULL_SIZE, GENERATOR_SIZE, Precision

PARAMS_FILE = Path("params.yaml")
RECIPES_FILE = Path("recipes.yaml")

# Values of `kind`, which pydantic puts into the path of a fault.
KINDS = {
    *("fastai_unet", "residual_unet"),
    *("patch_critic", "unet_critic", "global_critic"),
    *("bicubic", "crappify", "first_order", "second_order", "mixture"),
}


def _ordered(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"the lower bound {bounds[0]} is above the upper bound {bounds[1]}")
    return bounds


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _expression(text: str) -> str:
    try:
        groups = re.compile(text).groups
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from None
    if text and not groups:
        raise ValueError(f"{text!r} has no group that would name a person")
    return text


Range = Annotated[
    tuple[NonNegativeFloat, NonNegativeFloat], BeforeValidator(_as_tuple), AfterValidator(_ordered)
]
PositiveRange = Annotated[
    tuple[PositiveFloat, PositiveFloat], BeforeValidator(_as_tuple), AfterValidator(_ordered)
]
Quality = Annotated[
    tuple[Annotated[int, Field(ge=1, le=100)], Annotated[int, Field(ge=1, le=100)]],
    BeforeValidator(_as_tuple),
    AfterValidator(_ordered),
]
"""Bounds of a JPEG quality, both included."""
Fraction = Annotated[float, Field(ge=0, le=1)]
FractionRange = Annotated[
    tuple[Fraction, Fraction], BeforeValidator(_as_tuple), AfterValidator(_ordered)
]
PositiveFraction = Annotated[float, Field(gt=0, le=1)]
PositiveFractionRange = Annotated[
    tuple[PositiveFraction, PositiveFraction], BeforeValidator(_as_tuple), AfterValidator(_ordered)
]


class Section(BaseModel):
    """One section of params.yaml."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True
    )


class Sizes(Section):
    """Sides of the square training images in pixels; the networks' scales follow from them."""

    hr_size: PositiveInt
    """The up-sampler's output, and the stored faces."""
    generator_size: PositiveInt
    """The generator's output."""
    lr_size: PositiveInt
    """The low-resolution input."""

    @model_validator(mode="after")
    def _whole_scales(self) -> Self:
        if self.generator_size % self.lr_size or self.hr_size % self.generator_size:
            raise ValueError(
                f"lr_size {self.lr_size} must divide generator_size {self.generator_size}, "
                f"and that must divide hr_size {self.hr_size}"
            )
        return self

    @property
    def outputs(self) -> dict[str, int]:
        """Sides of both networks' outputs by their names in tables."""
        return {GENERATOR_SIZE: self.generator_size, FULL_SIZE: self.hr_size}

    @property
    def generator_scale(self) -> int:
        """Enlargement by the generator."""
        return self.generator_size // self.lr_size

    @property
    def upsampler_scale(self) -> int:
        """Enlargement by the up-sampler."""
        return self.hr_size // self.generator_size


class FetchParams(Section):
    """Source of images."""

    source: Literal["samples", "folder", "ffhq", "selfie"]
    path: str
    """Folder or archive of images; `ffhq` and `selfie` download missing files into it."""
    url: str
    """Address of downloads by `ffhq` and `selfie`; for `ffhq` with the fields `{file_url}`,
    `{file_path}` and `{index}` for mirrors."""
    pattern: str
    """Pattern of the paths that `folder` takes."""
    identity: Annotated[str, AfterValidator(_expression)]
    """Regular expression on the paths of `folder`, whose first group names the person; "" for none.
    """
    crop: Literal["centre", "face"]
    """The middle square, or the square around the largest face."""
    minimum_size: PositiveInt | None
    """Smaller images are set aside; those below hr_size are enlarged and counted. None (null) takes
    hr_size."""
    count: PositiveInt
    """Images to take, at most."""


class FetchFacesParams(FetchParams):
    """The faces, split into train, valid and test."""

    valid_fraction: Fraction
    test_fraction: Fraction

    @model_validator(mode="after")
    def _some_left_to_train(self) -> Self:
        if self.valid_fraction + self.test_fraction >= 1:
            raise ValueError("valid_fraction and test_fraction leave nothing to train on")
        return self


class RecipeParams(Section):
    """Recipe of a degradation."""

    base_scale: PositiveInt
    """The recipe starts from the face at this many times lr_size, and counts in its pixels."""


class BicubicParams(RecipeParams):
    """Reduction only."""

    kind: Literal["bicubic"]


class CrappifyParams(RecipeParams):
    """fastai's lesson: strong reduction, JPEG, enlargement."""

    kind: Literal["crappify"]
    reduction: PositiveFloat
    """Side of the start over the side of the JPEG file."""
    jpeg_quality: Quality


class FirstOrderParams(RecipeParams):
    """Blur, reduction, noise, JPEG, each by chance."""

    kind: Literal["first_order"]
    clean_probability: Fraction
    """Share of images that are only reduced."""
    blur_probability: Fraction
    anisotropic_probability: Fraction
    """Share of the blurs that have a direction."""
    blur_sigma: Range
    """Gaussian blur before the reduction, in pixels of the start."""
    reduction: PositiveRange
    """Side of the start over the side at which noise and JPEG act; lr_size comes afterwards."""
    filters: Annotated[
        tuple[Literal["bilinear", "bicubic", "lanczos"], ...],
        BeforeValidator(_as_tuple),
        Field(min_length=1),
    ]
    """Filters, one of which is drawn for all resizing of an image."""
    noise_probability: Fraction
    noise_sigma: Range
    """Gaussian noise in grey levels of 255."""
    jpeg_probability: Fraction
    jpeg_quality: Quality


class PassParams(Section):
    """One of the two passes of a second-order degradation."""

    blur_probability: Fraction
    blur_sigma: PositiveRange
    """Gaussian blur in pixels of the start."""
    enlarge_probability: Fraction
    reduce_probability: Fraction
    """The rest of both probabilities keeps the size."""
    resizing: PositiveRange
    """Bounds of the factor, below and above 1."""
    gaussian_probability: Fraction
    """Share of Gaussian noise; the rest is Poisson noise."""
    noise_sigma: Range
    """Gaussian noise in grey levels of 255."""
    poisson_scale: Range
    """Multiple of the photon noise."""
    grey_probability: Fraction
    """Share of the noise that is equal in the three channels."""
    jpeg_quality: Quality


class SecondOrderParams(RecipeParams):
    """Real-ESRGAN's degradation."""

    kind: Literal["second_order"]
    kernel_size: Annotated[tuple[PositiveInt, PositiveInt], BeforeValidator(_as_tuple)]
    """Bounds of the blur kernels' odd sides, in pixels."""
    sinc_probability: Fraction
    """Share of the blurs by a sinc filter."""
    anisotropic_probability: Fraction
    """Share of the other blurs that have a direction."""
    generalised_probability: Fraction
    generalised_power: PositiveRange
    plateau_probability: Fraction
    plateau_power: PositiveRange
    passes: Annotated[tuple[PassParams, PassParams], BeforeValidator(_as_tuple)]
    final_sinc_probability: Fraction


class MixtureParams(Section):
    """Mixture of recipes, one of which is drawn for every image."""

    kind: Literal["mixture"]
    weights: Annotated[dict[str, PositiveFloat], Field(min_length=1)]
    """Weights by name; their sum need not be 1."""


Recipe = Annotated[
    BicubicParams | CrappifyParams | FirstOrderParams | SecondOrderParams | MixtureParams,
    Field(discriminator="kind"),
]
Recipes = dict[str, Recipe]
Suites = dict[str, tuple[str, ...]]


class DegradeParams(Section):
    """Degradation of the faces to low-resolution views."""

    recipe: str
    """Recipe of the stored pairs and of the trainings; a name in recipes.yaml."""
    fresh: bool
    """Trainings draw a new view of every crop; the stored ones are for validation and test."""
    fresh_sizes: PositiveFractionRange
    """Smallest and largest size of such a crop's face, as a share of the original's."""
    validation: str
    """Suite of further recipes for the validation faces; a name in `suites`."""


Backbone = Literal["resnet18", "resnet34", "resnet50", "vgg16", "vgg16_bn", "convnext_tiny"]


class FastaiUNetParams(Section):
    """fastai's DynamicUnet, the study's network; same size in and out."""

    kind: Literal["fastai_unet"]
    backbone: Backbone
    pretrained: bool
    """Start from torchvision's ImageNet weights."""
    self_attention: bool


class ResidualUNetParams(Section):
    """U-Net on the low-resolution grid that adds to the bicubic enlargement."""

    kind: Literal["residual_unet"]
    backbone: Backbone
    pretrained: bool
    width: PositiveInt
    """Feature maps at the finest grid; 64 is torchvision's own width, 96 that of convnext_tiny."""
    levels: Annotated[int, Field(ge=1, le=5)]
    """Number of the backbone's grids in use, from the finest on; VGG16 has 5, the others 4."""
    decoder_blocks: NonNegativeInt
    """Residual blocks after each skip."""
    body_blocks: NonNegativeInt
    """Residual blocks at the finest grid, after the U-Net."""
    unshuffle: PositiveInt
    """Side of the pixel blocks folded into channels before the stem; 1 folds nothing."""
    head: Literal["direct", "stepwise"]
    """Enlargement in one step on the input's grid (fast), or doubling by doubling (finer)."""


class Phase(Section):
    """One cycle of training: the rate rises, then falls to zero."""

    crop_size: PositiveInt
    """Side of the training crops, in pixels of the network's input."""
    batch_size: PositiveInt
    epochs: PositiveInt
    learning_rate: PositiveFloat
    encoder_learning_rate: NonNegativeFloat
    """0 keeps the encoder frozen."""


class TrainingParams(Section):
    """Parameters of every training."""

    checkpoint_minutes: NonNegativeFloat
    """Minutes between two checkpoints; 0 saves after every step."""
    sample_images: PositiveInt
    """Validation images on the sheet of each epoch."""
    divergence_factor: PositiveFloat
    """A loss so many times its first value, and above this, stops the training."""
    precision: Precision
    """Type of the networks' arithmetic; `auto` is bfloat16 on devices with instructions for it."""
    compile: bool
    """Use torch.compile for residual U-Nets, and for critics while they train alone."""
    accumulate: PositiveInt
    """Parts of a batch, processed one after another; more need less memory."""
    max_accumulate: PositiveInt
    """Limit of the parts that are added automatically if memory is short."""
    features: Literal["vgg16", "vgg19"]
    """ImageNet's network whose features the terms `perceptual` and `texture` compare."""


NetworkParams = Annotated[FastaiUNetParams | ResidualUNetParams, Field(discriminator="kind")]
Phases = Annotated[tuple[Phase, ...], BeforeValidator(_as_tuple), Field(min_length=1)]


Content = Annotated[
    dict[
        Literal[
            "mse",
            "normalised_mse",
            "log_mse",
            "l1",
            "reduced_l1",
            "ms_ssim",
            "perceptual",
            "texture",
        ],
        PositiveFloat,
    ],
    Field(min_length=1),
]
"""Terms of the distance to the original, with their weights; perceptual and texture need
the network of `training.features`."""


class RegressionParams(Section):
    """Training of a network against the original images."""

    network: NetworkParams
    init_from: str
    """Initial weights, of this network or one with fewer body blocks: a file, `facesr@champion` or
    `facesr/3`; "" for random ones."""
    content: Content
    phases: Phases
    warmup_fraction: Fraction
    """Share of each phase in which the rate rises."""
    crops_per_pair: PositiveInt
    """Random crops taken from each pair in an epoch."""
    weight_decay: NonNegativeFloat
    epsilon: PositiveFloat
    """Adam's epsilon: gradients much smaller than it barely move a weight."""
    report_every: PositiveInt
    """Steps between two rows of the curves."""


class PatchCriticParams(Section):
    """The study's critic, fastai's gan_critic, which judges patches."""

    kind: Literal["patch_critic"]
    features: PositiveInt
    """Feature maps of the first layer."""
    blocks: PositiveInt
    """Halvings of the grid."""
    dropout: Fraction


class UNetCriticParams(Section):
    """Real-ESRGAN's critic with spectral norm, which judges pixels."""

    kind: Literal["unet_critic"]
    features: PositiveInt
    """Feature maps of the first layer."""


class GlobalCriticParams(Section):
    """Critic that judges the whole image at once."""

    kind: Literal["global_critic"]
    features: PositiveInt
    """Feature maps of the first layer."""
    side: PositiveInt
    """Side in pixels of the resized images: 8, 16, 32, ..."""


CriticParams = Annotated[
    PatchCriticParams | UNetCriticParams | GlobalCriticParams, Field(discriminator="kind")
]


class TrainCriticParams(Section):
    """Training of the critic to distinguish originals from generated images."""

    network: CriticParams
    epochs: PositiveInt
    learning_rate: PositiveFloat
    warmup_fraction: Fraction
    batch_size: PositiveInt
    crop_size: PositiveInt
    """Side of the crops, in pixels of the generator's output."""
    weight_decay: NonNegativeFloat
    epsilon: PositiveFloat
    report_every: PositiveInt


class GrainParams(Section):
    """Noise of a finished GAN for texture that its input leaves open."""

    crops: NonNegativeInt
    """Crops to which its amplitude is fitted; 0: no grain. The generator is a residual_unet."""
    share: PositiveFloat
    """Share of the originals' gradient energy that the images have with it."""


class TrainGanParams(Section):
    """Adversarial training of generator and critic."""

    init_from: str
    """Initial weights of the generator, as in `RegressionParams`; "" takes the trained one's."""
    batches: PositiveInt
    """Number of batches; each updates one of the two networks."""
    batch_size: PositiveInt
    crop_size: PositiveInt
    """Side of the crops, in pixels of the generator's input."""
    generator_learning_rate: PositiveFloat
    critic_learning_rate: PositiveFloat
    decay_fraction: Fraction
    """Share of the batches, at the end, in which both rates fall linearly to zero."""
    beta1: Fraction
    beta2: Fraction
    epsilon: PositiveFloat
    weight_decay: NonNegativeFloat
    content: Content
    adversarial_loss: Literal[
        "vanilla", "least_squares", "hinge", "wasserstein", "relativistic", "softmax"
    ]
    adversarial_weight: NonNegativeFloat
    feature_weight: NonNegativeFloat
    """Weight of the distance between the critic's features of generated images and originals."""
    texture_weight: NonNegativeFloat
    """Weight of the distance between the Gram matrices of those features."""
    gradient_penalty: NonNegativeFloat
    """Weight of the penalty on the critic's slope; 10 for the Wasserstein form."""
    critic_threshold: NonNegativeFloat
    """The critic trains until its batch loss is below this; 0 lets the two alternate."""
    ema_decay: Fraction
    """Decay of the moving average of the generator's weights, which is the result."""
    grain: GrainParams
    report_every: PositiveInt
    """Batches between two rows of the curves."""


class EvaluateParams(Section):
    """Measurement on the held-out faces and the selfies."""

    back_projections: PositiveInt
    """Corrections of the row `lanczos + back-projection`."""
    minimum_psnr: PositiveFloat
    """dB; a set with a lower mean has pairs that do not match."""
    sheet_images: PositiveInt
    """Images on each sample sheet."""
    validation_images: PositiveInt
    """Largest number of measured images of each stored validation set."""
    smallest_group: PositiveInt
    """Smallest group with a row in the results by group."""


class PublishParams(Section):
    """Rule by which a new version replaces the champion."""

    metric: Literal["psnr", "ssim", "ms_ssim", "mse", "l1_mean", "lpips", "identity"]
    evaluation_set: Literal["faces", "selfies"]
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    """Level of the one-sided paired t-test that a version has to pass."""


class Params(Section):
    """Active profile with its recipes."""

    profile: str
    data_seed: NonNegativeInt
    """Seed of images, splits and degradations, which repeats of a training share."""
    training_seed: NonNegativeInt
    """Seed of initial weights, order and crops."""
    require_gpu: bool
    """Refuse to start on a computer without a GPU."""
    sizes: Sizes
    fetch_faces: FetchFacesParams
    fetch_selfies: FetchParams
    degrade: DegradeParams
    training: TrainingParams
    train_generator: RegressionParams
    train_critic: TrainCriticParams
    train_gan: TrainGanParams
    train_upsampler: RegressionParams
    evaluate: EvaluateParams
    publish: PublishParams
    recipes: Recipes
    suites: Suites

    @model_validator(mode="after")
    def _recipes_exist(self) -> Self:
        require("degrade.recipe:", self.degrade.recipe, self.recipes)
        require("degrade.validation:", self.degrade.validation, self.suites)
        for name in (self.degrade.recipe, *self.suites[self.degrade.validation]):
            self._check_recipe(name)
        return self

    def _check_recipe(self, name: str) -> None:
        recipe, sizes = self.recipes[name], self.sizes
        parts = list(recipe.weights) if isinstance(recipe, MixtureParams) else [name]
        # Fresh views are made from the originals that a training holds, of generator_size.
        fresh = self.degrade.fresh and name == self.degrade.recipe
        side = sizes.generator_size if fresh else sizes.hr_size
        for part in parts:
            scale = getattr(self.recipes[part], "base_scale", 0)
            if scale * sizes.lr_size > side:
                raise ValueError(
                    f"degrade: recipe {part} starts from {scale} x {sizes.lr_size} px, more than "
                    f"the {side} px of the originals"
                )

    @model_validator(mode="after")
    def _crops_fit(self) -> Self:
        for name, crop, side in (
            *(
                ("train_generator", phase.crop_size, self.sizes.lr_size)
                for phase in self.train_generator.phases
            ),
            ("train_critic", self.train_critic.crop_size, self.sizes.generator_size),
            ("train_gan", self.train_gan.crop_size, self.sizes.lr_size),
            *(
                ("train_upsampler", phase.crop_size, self.sizes.generator_size)
                for phase in self.train_upsampler.phases
            ),
        ):
            if crop > side:
                raise ValueError(f"{name}.crop_size {crop} is larger than its images, {side}")
        return self

    @model_validator(mode="after")
    def _compiles(self) -> Self:
        networks = (self.train_generator.network, self.train_upsampler.network)
        if self.training.compile and any(isinstance(one, FastaiUNetParams) for one in networks):
            raise ValueError(
                "training.compile does not go with fastai_unet: torch.compile cannot follow its "
                "hooks. Set compile: false, or kind: residual_unet"
            )
        return self

    @model_validator(mode="after")
    def _has_grain(self) -> Self:
        network = self.train_generator.network
        if self.train_gan.grain.crops and not isinstance(network, ResidualUNetParams):
            raise ValueError(
                f"train_gan.grain does not go with {network.kind}, which has no noise. "
                "Set crops: 0, or kind: residual_unet"
            )
        return self


def load_params(path: Path = PARAMS_FILE, *, any_device: bool = False) -> Params:
    """Read and check params.yaml and recipes.yaml beside it.

    Args:
        any_device: Accept a computer without a GPU even if the profile requires one.

    Raises:
        ParamsError: A file is missing or unreadable, or keys are unknown, missing or mistyped (all
            of them in one message), or the required GPU is missing.
    """
    params = check_params(read_yaml(path), path, path.parent)
    if params.require_gpu and not any_device:
        # Loaded here so that reading parameters stays instant for profiles that run anywhere.
        import torch

        if not torch.cuda.is_available():
            raise ParamsError(
                f"Profile {params.profile} needs a GPU and PyTorch finds none here. Set "
                f"require_gpu: false in {path} to run it all the same, or run: "
                "make profile NAME=small"
            )
    return params


def check_params(values: Any, path: Path, root: Path) -> Params:
    """Return the parameters in a file with the recipes of `root`, or raise as `load_params`."""
    if not isinstance(values, dict):
        raise ParamsError(f"{path} holds no parameters. Run: make profile NAME=small")
    if {"profiles", "seed"} & set(values) or "explosion_factor" in str(values.get("training")):
        raise ParamsError(
            f"{path} is of an older version. Rename its keys as CHANGELOG.md says, or run: "
            "make profile NAME=small FORCE=1 (or another name), and enter your own values again."
        )
    recipes, suites = load_recipes(root / RECIPES_FILE)
    try:
        return Params.model_validate({**values, "recipes": recipes, "suites": suites})
    except ValidationError as error:
        raise ParamsError(all_faults(path, error)) from None


class _RecipesFile(Section):
    recipes: Recipes
    suites: dict[str, dict[str, Any]]


def load_recipes(path: Path = RECIPES_FILE) -> tuple[Recipes, Suites]:
    """Return the recipes by name, and the names of each suite's recipes.

    Raises:
        ParamsError: The file is missing or unreadable, keys are unknown, missing or mistyped, or a
            mixture or suite does not hold its own recipes.
    """
    values = read_yaml(path)
    try:
        given = values["recipes"]
        plain = {
            name: {key: value for key, value in recipe.items() if key != "parts"}
            for name, recipe in given.items()
        }
        content = _RecipesFile.model_validate({**values, "recipes": plain})
    except ValidationError as error:
        raise ParamsError(all_faults(path, error)) from None
    except (AttributeError, KeyError, TypeError):
        raise ParamsError(f"{path} holds no recipes. Restore it: git checkout {path}") from None
    groups = {f"suites.{name}": suite for name, suite in content.suites.items()}
    for name, recipe in content.recipes.items():
        if isinstance(recipe, MixtureParams):
            parts = groups[f"recipes.{name}.parts"] = given[name].get("parts") or {}
            if set(parts) != set(recipe.weights):
                raise ParamsError(f"{path}: recipes.{name}: weights and parts name other recipes.")
    for where, group in groups.items():
        for name, recipe in group.items():
            if recipe != given.get(name):
                raise ParamsError(
                    f"{path}: {where}.{name} is not the recipe {name}. Write {name}: *{name}"
                )
    mixtures = {n for n, recipe in content.recipes.items() if isinstance(recipe, MixtureParams)}
    for name in mixtures:
        if mixtures & set(given[name]["weights"]):
            raise ParamsError(f"{path}: recipes.{name} mixes a mixture. Name its parts instead.")
    return content.recipes, {name: tuple(suite) for name, suite in content.suites.items()}


class _Loader(yaml.SafeLoader):
    """Loader that reads 1e-06 as a number, as DVC does; YAML 1.1 and PyYAML read a text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def read_yaml(path: Path) -> Any:
    """Parse a YAML file; raise ParamsError if it is missing or not YAML."""
    try:
        return parse_yaml(path.read_text(encoding="utf-8"), path)
    except FileNotFoundError:
        raise ParamsError(f"{path} does not exist here. Run from the project's root.") from None
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path} is not valid YAML: {error}. Fix that line.") from None


def parse_yaml(text: str, path: Path) -> Any:
    """Parse the text of `path`; raise ParamsError if it is not YAML."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ParamsError(f"{path} is not valid YAML: {error}. Fix that line.") from None


def require(where: str, name: str, known: Collection[str]) -> None:
    """Raise a ValueError that lists the known names if `name` is not one of them."""
    if name not in known:
        raise ValueError(f"{where} {name!r} is not one of {', '.join(known)}")


def all_faults(path: Path, error: ValidationError) -> str:
    """Return all faults of a file in one message, a line each."""
    lines = []
    for fault in error.errors():
        # The tag of a discriminated union is no key of the file.
        place = fault["loc"]
        keys = [
            str(key)
            for before, key in zip(("", *place), place, strict=False)
            if key not in KINDS or before == "recipes"
        ]
        message = fault["msg"].removeprefix("Value error, ")
        lines.append(f"  {'.'.join(keys)}: {message}" if keys else f"  {message}")
    return "\n".join([f"{path} does not fit facesr.config:", *lines])
