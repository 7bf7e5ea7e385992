"""dvc.yaml agrees with the stages: DVC itself follows no import and checks no name."""

import ast
from pathlib import Path

import pytest
import yaml

from facesr.config import Params

ROOT = Path(__file__).parents[1]
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
SCRIPTS = sorted(path.stem for path in (ROOT / "stages").glob("*.py") if path.stem != "__init__")
# publish runs every time, so nothing needs to tell DVC when.
CACHED = [name for name in SCRIPTS if not PIPELINE[name].get("always_changed")]

# Modules that a stage imports and that cannot change what it writes to its outs.
EXEMPT = {
    "__init__": "holds the version only",
    "cli": "the frame around every stage",
    "config": "checks numbers that DVC tracks by themselves",
    "data/download": "what comes is verified",
    "errors": "messages, and imports of optional packages",
    "files": "how bytes reach the disk",
    "parallel": "the results are the same on any number of cores",
    "paths": "names that dvc.yaml repeats",
    "reports": "presentation only; stats computes the numbers",
    "tracking": "publish runs every time",
    "training/resume": "a training that goes on ends with the bits of an unbroken one",
}


def module_file(name: str, root: Path = ROOT) -> Path | None:
    base = root / "src" / name.replace(".", "/")
    for file in (base.with_suffix(".py"), base / "__init__.py"):
        if file.is_file():
            return file
    return None


def with_parents(name: str) -> list[str]:
    """A module of ours and the packages around it, whose `__init__` Python runs first."""
    parts = name.split(".")
    return [".".join(parts[: end + 1]) for end in range(len(parts)) if parts[0] == "facesr"]


def imported_files(file: Path, root: Path = ROOT) -> set[Path]:
    """All files of ours that importing `file` loads, itself left out."""
    found: set[Path] = set()
    todo = [file]
    while todo:
        for node in ast.walk(ast.parse(todo.pop().read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            new = {
                loaded
                for name in names
                for loaded in (module_file(part, root) for part in with_parents(name))
                if loaded
            } - found
            new = {one for one in new if not exempt(one, root)}
            found |= new
            todo += new
    return found


def exempt(file: Path, root: Path) -> bool:
    if all(isinstance(node, ast.Expr) for node in ast.parse(file.read_text()).body):
        return True  # a docstring at most
    module = file.relative_to(root / "src" / "facesr").with_suffix("")
    return module.parts[0] in EXEMPT or module.as_posix() in EXEMPT


def missing_deps(script: Path, deps: list[str], root: Path = ROOT) -> list[str]:
    covered = [root / dep for dep in deps]
    return sorted(
        file.relative_to(root).as_posix()
        for file in imported_files(script, root)
        if not any(file == dep or dep in file.parents for dep in covered)
    )


def read_sections(script: Path) -> set[str]:
    """Names of the parameters that a script reads, as `params.NAME`."""
    return {
        node.attr
        for node in ast.walk(ast.parse(script.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "params"
    }


def test_every_stage_has_a_script_of_its_name():
    assert sorted(PIPELINE) == SCRIPTS
    for name, stage in PIPELINE.items():
        assert stage["cmd"] == f"python -m stages.{name}"
        assert f"stages/{name}.py" in stage["deps"] or stage.get("always_changed")


@pytest.mark.parametrize("name", CACHED)
def test_deps_cover_what_the_stage_imports(name):
    missing = missing_deps(ROOT / "stages" / f"{name}.py", PIPELINE[name]["deps"])
    assert not missing, f"add to {name}.deps in dvc.yaml: {missing}"


def test_a_dep_that_is_left_out_is_found():
    deps = [dep for dep in PIPELINE["degrade"]["deps"] if not dep.endswith("degrade.py")]
    missing = missing_deps(ROOT / "stages" / "degrade.py", deps)
    assert missing == ["src/facesr/data/degrade.py"]


@pytest.mark.parametrize("name", ["stats", "devices"])
def test_what_computes_a_statistic_or_decides_a_number_format_is_a_dep_of_evaluate(name):
    assert f"src/facesr/{name}.py" in PIPELINE["evaluate"]["deps"]
    assert name not in EXEMPT


def test_the_init_of_a_package_counts_as_imported(tmp_path):
    package = tmp_path / "src" / "facesr" / "inner"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("FACTOR = 2\n")
    (package / "leaf.py").write_text("something = 1\n")
    script = tmp_path / "script.py"
    script.write_text("from facesr.inner.leaf import something\n")
    assert missing_deps(script, ["src/facesr/inner/leaf.py"], tmp_path) == [
        "src/facesr/inner/__init__.py"
    ]


@pytest.mark.parametrize("name", CACHED)
def test_params_are_the_sections_that_the_script_reads(name):
    read = read_sections(ROOT / "stages" / f"{name}.py")
    listed = {param for param in PIPELINE[name]["params"] if isinstance(param, str)}
    assert listed == read - {"recipes", "suites"}
    assert ("recipes" in read) == any(isinstance(param, dict) for param in PIPELINE[name]["params"])


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_stage_is_thin(name):
    tree = ast.parse((ROOT / "stages" / f"{name}.py").read_text())
    thick = (ast.For, ast.While, ast.Try, ast.ClassDef, ast.Lambda, ast.ListComp, ast.DictComp)
    assert not [node for node in ast.walk(tree) if isinstance(node, thick)]
    functions = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert functions == ["main"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_description_is_the_docstrings_first_line(name):
    tree = ast.parse((ROOT / "stages" / f"{name}.py").read_text())
    assert ast.get_docstring(tree).splitlines()[0] == PIPELINE[name]["desc"]


def test_every_stage_with_numbers_has_a_section_of_its_name():
    sections = set(Params.model_fields) - {
        *("profile", "data_seed", "training_seed", "require_gpu"),
        *("sizes", "training", "recipes", "suites"),
    }
    assert sections == set(SCRIPTS)


def test_no_expensive_out_leaves_the_run_cache():
    for stage in PIPELINE.values():
        for out in stage.get("outs", []):
            assert isinstance(out, str), f"{out}: cache: false and persist switch the run-cache off"


def test_data_and_trainings_have_seeds_of_their_own():
    seeds = {
        name: {one for one in stage.get("params", ()) if str(one).endswith("seed")}
        for name, stage in PIPELINE.items()
    }
    assert {name for name, found in seeds.items() if found == {"data_seed"}} == {
        "fetch_faces",
        "fetch_selfies",
        "degrade",
    }
    assert {name for name, found in seeds.items() if found == {"training_seed"}} == {
        name for name in PIPELINE if name.startswith("train_")
    }
