"""Browsers that fail a test on any script error and any request to another host."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import served

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = pytest.mark.skip(reason="Chromium is missing: apt-get install chromium")
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.filterwarnings(r"ignore:::mlflow\."))
            # Playwright's driver and MLflow's database are left to the garbage collector.
            item.add_marker(pytest.mark.filterwarnings("ignore::ResourceWarning"))
            item.add_marker(
                pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
            )
            if served.CHROMIUM is None:
                item.add_marker(missing)


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two registered versions; the first is the champion."""
    folder = tmp_path_factory.mktemp("project")
    served.register(folder, 1)
    served.register(folder, 2)
    served.make_champion(folder, 1)
    return folder


@pytest.fixture(scope="session")
def base(project: Path) -> Iterator[str]:
    with served.serve(project, FACESR_API="open") as (address, _):
        yield address


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=str(served.CHROMIUM), args=served.FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open a page as a new visitor; afterwards no visitor may have seen a fault."""
    faults: list[str] = []
    contexts = []

    def open_page(address: str, query: str = "", *, view: str = "", **options: Any) -> Any:
        options.setdefault("viewport", {"width": 1280, "height": 900})
        context = browser.new_context(permissions=["camera"], accept_downloads=True, **options)
        context.set_default_timeout(120_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith(
                    (address, "data:", "blob:", address.replace("http", "ws"))
                )
                else faults.append(request.url)
            ),
        )
        page.goto(address + query)
        page.get_by_role("heading", level=1).wait_for()
        if view:
            # By its address, Streamlit's first two requests would miss and be told on the console.
            link = page.get_by_role("link", name=view)
            if not link.is_visible():
                page.get_by_test_id("stExpandSidebarButton").click()
            link.click()
            page.get_by_role("heading", name=view, level=1).wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []
