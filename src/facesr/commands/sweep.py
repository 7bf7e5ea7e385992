"""`facesr sweep`: combinations of parameters and seeds on DVC's queue."""

import argparse
from pathlib import Path

from facesr.commands.arguments import whole


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Describes the command and its options."""
    parser = commands.add_parser(
        "sweep",
        help="run combinations of parameters and seeds on DVC's queue",
        description=(
            "Runs every combination of the values with every training seed as DVC experiments, and "
            "writes mean ± standard error over the seeds, and the difference to the first "
            "combination seed by seed, as table and plot. All share the images of data_seed. "
            "Metric and evaluation set are those of publish in params.yaml."
        ),
        epilog="Example: facesr sweep weight train_gan.adversarial_weight=1.0e-3,5.0e-3 "
        "--seeds 1 2 3",
    )
    parser.add_argument("name", help="of the sweep; its experiments are numbered behind it")
    parser.add_argument("grid", nargs="*", metavar="PARAMETER=VALUE,VALUE")
    parser.add_argument(
        "--seeds", type=whole(0), nargs="+", help="of the trainings (default: params.yaml)"
    )
    parser.add_argument(
        "--jobs", type=whole(1), default=1, help="trials at once, one for each GPU (default: 1)"
    )
    parser.add_argument("--output", type=Path, help="folder (default: sweeps/NAME)")
    parser.set_defaults(command=_sweep)


def _sweep(parsed: argparse.Namespace) -> None:
    from facesr.config import PARAMS_FILE, load_params
    from facesr.errors import ParamsError
    from facesr.sweeps import collect, plan, run, write_summary

    grid = {}
    for text in parsed.grid:
        key, equals, values = text.partition("=")
        if not equals or not values:
            raise ParamsError(f"{text} is no PARAMETER=VALUE,VALUE.")
        grid[key] = values.split(",")
    root = Path.cwd()
    params = load_params(any_device=True)
    trials = plan(parsed.name, grid, parsed.seeds or [params.training_seed], params=PARAMS_FILE)
    states = run(root, trials, jobs=parsed.jobs)
    rule = {"metric": params.publish.metric, "set_name": params.publish.evaluation_set}
    outcomes = collect(root, trials, states, **rule)
    folder = parsed.output or Path("sweeps", parsed.name)
    print(write_summary(outcomes, folder, **rule))
    print(f"\n{folder}/summary.png")
