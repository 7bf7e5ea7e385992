"""`facesr find-rate`: shows which learning rates a training stage bears."""

import argparse
from pathlib import Path

from facesr.commands.arguments import real, whole

# As in dvc.yaml: where each stage finds its inputs and its originals.
FOLDERS = {
    "train_generator": ("data/pairs/train/lr", "data/pairs/train/hr"),
    "train_critic": ("data/generated/generator/train", "data/pairs/train/hr"),
    "train_upsampler": ("data/generated/gan/train", "data/pairs/train/hr"),
}


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Describes the command and its options."""
    parser = commands.add_parser(
        "find-rate",
        help="show which learning rates a training stage bears",
        description=(
            "Trains the network that the stage starts from (see init_from in params.yaml) for some "
            "steps with a growing learning rate, throws it away, and draws the loss over the "
            "rate. Run in the project's root, after the stages before."
        ),
    )
    parser.add_argument("stage", choices=FOLDERS)
    parser.add_argument("-o", "--output", type=Path, required=True, help="the picture, PNG")
    parser.add_argument("--lowest", type=real(above=0), default=1e-7, help="default: %(default)s")
    parser.add_argument("--highest", type=real(above=0), default=1.0, help="default: %(default)s")
    parser.add_argument("--steps", type=whole(2), default=100, help="default: %(default)s")
    parser.set_defaults(command=_find_rate)


def _find_rate(parsed: argparse.Namespace) -> None:
    from facesr import tracking
    from facesr.config import load_params
    from facesr.errors import ParamsError
    from facesr.training.find_rate import SMOOTHED_STEPS, draw_rates, find_rate

    if not parsed.lowest < parsed.highest:
        raise ParamsError(
            f"--lowest must be below --highest: {parsed.lowest:g} is not below {parsed.highest:g}."
        )
    params = load_params(any_device=True)
    lr, hr = FOLDERS[parsed.stage]
    start = getattr(getattr(params, parsed.stage), "init_from", "")  # The critic has none.
    found = find_rate(
        parsed.stage,
        params,
        lr=Path(lr),
        hr=Path(hr),
        init_from=tracking.find_weights(Path(), start),
        lowest=parsed.lowest,
        highest=parsed.highest,
        steps=parsed.steps,
    )
    draw_rates(found, parsed.output, title=f"{parsed.stage} of profile {params.profile}")
    print(
        f"{parsed.output}: {len(found.rates)} steps; a tenth of the rate with the lowest loss is "
        f"{found.suggestion:.1e}"
    )
    if parsed.steps < SMOOTHED_STEPS:
        print(
            f"{parsed.steps} steps are too few to go by that: each loss is a mean over about "
            f"{SMOOTHED_STEPS}. Give --steps 100 or more."
        )
    elif found.suggestion < parsed.lowest:
        print("The loss did not fall at any of these rates. Give a higher --highest.")
