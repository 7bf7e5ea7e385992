"""Imports that the page may use, and when."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import DASHBOARD

ALLOWED = {
    *("choice", "devices", "enhance", "errors", "images", "metrics", "names", "paths"),
    *("reports", "stats", "tracking", "__version__"),
    # Manifests and pairs of the evaluation; enlargement without a network.
    *("data", "evaluation"),
}
FILES = sorted(DASHBOARD.rglob("*.py"))


def imports(nodes):
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(DASHBOARD).as_posix())
def test_the_page_uses_only_the_finished_tool_and_its_siblings(file: Path):
    names = set(imports(ast.walk(ast.parse(file.read_text()))))
    ours = {name.split(".")[1] for name in names if name.startswith("facesr.")}
    assert ours <= ALLOWED
    # That name would work in tests, and fail under `streamlit run`.
    assert not any(name.split(".")[0] in {"dashboard", "mlflow", "stages"} for name in names)


def test_the_first_page_needs_neither_torch_nor_mlflow(project):
    code = (
        "import sys; from streamlit.testing.v1 import AppTest; "
        f"at = AppTest.from_file({str(DASHBOARD / 'app.py')!r}, default_timeout=60).run(); "
        "assert not at.exception and at.title[0].value == 'Enhance a face image'; "
        "print({'torch', 'mlflow'} & set(sys.modules))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=project
    )
    assert found.stdout.strip() == "set()"
