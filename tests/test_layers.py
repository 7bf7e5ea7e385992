"""Imports go one way: a module may use only what stands in an earlier layer."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "facesr"

LAYERS = [
    {"errors"},
    {"extras"},
    {"files"},
    {
        "config",
        "paths",
        "png",
        "tiff_reader",
        "devices",
        "parallel",
        "download",
        "stats",
        "tables",
        "video_streams",
    },
    {"profiles", "images", "packs", "metadata", "stores", "remux"},
    {"reports", "models", "metrics", "colour", "degradation", "deep", "tiff", "tiles"},
    {
        "baselines",
        "losses",
        "photos",
        "checkpoints",
        "manifest",
        "pairs",
        "precision",
        "faces",
        "burst",
        "video",
        "ensemble",
    },
    {"removed", "enhancer", "jobs"},
    {"sources", "pairing", "training", "tracking"},
    {"batch", "choice", "evaluation", "scoreboard"},
    {"lineage", "registered_model", "remeasure", "cluster", "verification"},
    {"comparison", "reproduction"},
    {"commands"},
    {"cli"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}


def unit(file: Path, source: Path) -> str:
    """The module or package directly below facesr that a file belongs to."""
    return file.relative_to(source).parts[0].removesuffix(".py")


def imported_units(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "facesr":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("facesr."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {
                alias.name.split(".")[1] for alias in node.names if alias.name.startswith("facesr.")
            }
    return found


def violations(source: Path) -> list[str]:
    wrong = []
    for file in sorted(source.rglob("*.py")):
        own = unit(file, source)
        if own == "__init__":
            continue
        wrong += [
            f"{file.relative_to(source)} -> {used}"
            for used in sorted(imported_units(file) - {own, "__version__"})
            if RANK[used] >= RANK[own]
        ]
    return wrong


def test_every_module_stands_in_a_layer():
    units = {unit(file, SOURCE) for file in SOURCE.rglob("*.py")} - {"__init__"}
    assert units == set(RANK)


def test_no_module_imports_from_its_own_or_a_later_layer():
    assert violations(SOURCE) == []


def test_a_planted_violation_is_found(tmp_path):
    (tmp_path / "images.py").write_text("from facesr.enhance.enhancer import Enhancer\n")
    assert violations(tmp_path) == ["images.py -> enhancer"]


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("mlflow", {"tracking", "registered_model.py"}),
        ("yaml", {"config.py"}),
        ("ruamel", {"profiles.py"}),
        ("streamlit", set()),
        ("dvc", set()),
        (
            "fastai",
            {"models/critics.py", "models/fastai_unet.py", "training/learner.py"},
        ),
    ],
)
def test_each_big_package_has_one_door(package, allowed):
    users = set()
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            if any(name.split(".")[0] == package for name in names):
                # A package that is named as a whole is one door.
                package_of = unit(file, SOURCE)
                users.add(
                    package_of if package_of in allowed else file.relative_to(SOURCE).as_posix()
                )
    assert users == allowed
