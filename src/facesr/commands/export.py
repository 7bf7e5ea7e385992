"""`facesr export`: writes weights as one file."""

import argparse
from pathlib import Path

from facesr.commands.arguments import text


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "export",
        help="write a model's weights as one file",
        description=(
            "Writes the chain of weights files as one safetensors file, which `--model FILE` of "
            "every command takes."
        ),
    )
    parser.add_argument(
        "weights",
        type=text,
        nargs="+",
        help="files in the order of an image's way, or one model: facesr@ALIAS, facesr/NUMBER",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="the file to write")
    parser.add_argument("--fidelity", type=Path, help="the first network before its GAN training")
    parser.add_argument("--mean-with", type=Path, help="average the first network with this one")
    parser.add_argument("--float16", action="store_true", help="half the bytes")
    parser.add_argument("--force", action="store_true", help="overwrite the file")
    parser.set_defaults(command=_export)


def _export(parsed: argparse.Namespace) -> None:
    from facesr.choice import find_file
    from facesr.errors import CheckpointError
    from facesr.models.checkpoints import (
        average,
        load_chain,
        load_network,
        load_networks,
        save_networks,
    )

    if parsed.output.exists() and not parsed.force:
        message = f"{parsed.output} already exists. Choose another name or pass --force."
        raise CheckpointError(message)
    files = [find_file(name, root=Path.cwd()) for name in parsed.weights]
    # One file may hold a whole chain.
    is_whole = len(files) == 1 and not parsed.fidelity
    chain = load_networks(files[0]) if is_whole else load_chain(files, fidelity=parsed.fidelity)
    if parsed.mean_with:
        mean = average([chain[0], load_network(parsed.mean_with)])
        chain[0] = chain[0]._replace(module=mean.module)
    save_networks(parsed.output, chain, halved=parsed.float16)
    print(f"{parsed.output}: {parsed.output.stat().st_size / 1e6:.1f} MB")
