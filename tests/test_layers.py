"""A module imports only from earlier layers."""

import ast
from functools import cache
from pathlib import Path

import pytest

from facesr.tracking.registration import SERVED

SOURCE = Path(__file__).parents[1] / "src" / "facesr"

LAYERS = [
    {"errors", "names"},
    {"paths"},
    {"config", "devices", "files", "parallel", "stats"},
    {"images", "models", "profiles"},
    {"metrics", "reports"},
    {"data", "enhance", "losses"},
    {"evaluation", "tracking", "training"},
    {"audit", "choice"},
    {"commands"},
    {"cli"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}


def unit(file: Path, source: Path) -> str:
    """The module or package directly below facesr that a file belongs to."""
    return file.relative_to(source).parts[0].removesuffix(".py")


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def imported_units(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(parsed(file)):
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


def imported_modules(file: Path) -> set[Path]:
    """Files of ours that a file imports when it is loaded, not inside its functions."""
    found: set[Path] = set()
    for node in parsed(file).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("facesr"):
            base = SOURCE.parent / node.module.replace(".", "/")
            for alias in node.names:
                module, package = base / f"{alias.name}.py", base / alias.name / "__init__.py"
                if module.is_file() or package.is_file():
                    found |= {module, package}
                else:
                    found |= {base.with_suffix(".py"), base / "__init__.py"}
    return {path for path in found if path.is_file()} - {file}


def test_no_module_imports_itself_by_way_of_others():
    done: set[Path] = set()

    def visit(file: Path, above: tuple[Path, ...]) -> None:
        assert file not in above, [one.relative_to(SOURCE).as_posix() for one in above]
        if file not in done:
            for other in imported_modules(file):
                visit(other, (*above, file))
            done.add(file)

    for file in sorted(SOURCE.rglob("*.py")):
        visit(file, ())


def test_the_registered_model_ships_all_that_it_imports():
    served = {name.removesuffix(".py") for name in SERVED}
    files = [file for file in SOURCE.rglob("*.py") if unit(file, SOURCE) in served]
    files.append(SOURCE / "tracking" / "registered_model.py")
    assert set().union(*map(imported_units, files)) - {"__version__"} <= served


def test_a_planted_violation_is_found(tmp_path):
    (tmp_path / "images.py").write_text("from facesr.enhance.enhancer import Enhancer\n")
    assert violations(tmp_path) == ["images.py -> enhance"]


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("mlflow", {"tracking"}),
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
        for node in ast.walk(parsed(file)):
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
