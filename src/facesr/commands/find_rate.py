"""`facesr find-rate`: plots loss against learning rate for a stage."""

import argparse
from pathlib import Path

from facesr.commands.arguments import real, whole

STAGES = ("train_generator", "train_critic", "train_upsampler")


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "find-rate",
        help="plot loss against learning rate for a training stage",
        description=(
            "Trains the network that the stage starts from (see init_from in params.yaml) for some "
            "steps with a growing learning rate, throws it away, and draws the loss over the "
            "rate. Run in the project's root, after the stages before."
        ),
    )
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("-o", "--output", type=Path, required=True, help="the figure, PNG")
    parser.add_argument("--lowest", type=real(above=0), default=1e-7, help="default: %(default)s")
    parser.add_argument("--highest", type=real(above=0), default=1.0, help="default: %(default)s")
    parser.add_argument("--steps", type=whole(6), default=100, help="default: %(default)s")
    parser.set_defaults(command=_find_rate)


def _find_rate(parsed: argparse.Namespace) -> None:
    from facesr import paths, tracking
    from facesr.config import load_params
    from facesr.errors import ParamsError
    from facesr.training.critic import critic_task
    from facesr.training.find_rate import SMOOTHED_STEPS, draw_rates, find_rate
    from facesr.training.pretrain import regression_task

    if not parsed.lowest < parsed.highest:
        raise ParamsError(
            f"--lowest must be below --highest: {parsed.lowest:g} is not below {parsed.highest:g}."
        )
    params = load_params(any_device=True)
    sizes, seed = params.sizes, params.training_seed
    if parsed.stage == "train_critic":
        task = critic_task(
            params.train_critic, paths.CRITIC_DATA, hr_size=sizes.generator_size, seed=seed
        )
    else:
        is_generator = parsed.stage == "train_generator"
        section = params.train_generator if is_generator else params.train_upsampler
        task = regression_task(
            section,
            params.training,
            paths.GENERATOR_DATA if is_generator else paths.UPSAMPLER_DATA,
            hr_size=sizes.generator_size if is_generator else sizes.hr_size,
            init_from=tracking.find_weights(Path(), section.init_from),
            seed=seed,
        )
    found = find_rate(
        task, params.training, lowest=parsed.lowest, highest=parsed.highest, steps=parsed.steps
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
