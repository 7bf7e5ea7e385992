"""Images of the page for the documentation.

    PYTHONPATH=tests python tests/browser/screenshots.py PROJECT docs/dashboard

PROJECT is a folder in which `dvc repro` has registered a model.
"""

import sys
import tempfile
from pathlib import Path

import served
from PIL import Image
from playwright.sync_api import Page, sync_playwright

MAX_BYTES = 500_000


def enhance_examples(page: Page) -> None:
    """Bring the page to a result."""
    page.get_by_role("heading", name="Enhance a face image").wait_for()
    # The test image's quality appears once the registry has answered.
    page.get_by_text("champion").first.wait_for()
    for name in ("Face 1", "Face 2", "Face 3"):
        page.get_by_role("button", name=name).click()
        page.get_by_text(f"{name.lower().replace(' ', '_')}.png: ").wait_for()
    page.get_by_role("button", name="Enhance 3 images").click()
    page.get_by_text("3 done, 0 not enhanced").wait_for()
    page.wait_for_timeout(1500)


def save(page: Page, path: Path, *, full: bool = True) -> None:
    """Write an image of the page, small enough for a repository."""
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=path, full_page=full)
    with Image.open(path) as shot:
        colours = shot.convert("RGB").quantize(256, dither=Image.Dither.FLOYDSTEINBERG)
    colours.save(path, optimize=True)
    assert path.stat().st_size < MAX_BYTES, f"{path} has {path.stat().st_size} bytes"


def main() -> None:
    """Draw every image."""
    project, folder = Path(sys.argv[1]), Path(sys.argv[2])
    with (
        tempfile.TemporaryDirectory() as log,
        served.serve(project, log=Path(log)) as (address, _),
        sync_playwright() as driver,
    ):
        browser = driver.chromium.launch(executable_path=str(served.CHROMIUM), args=served.FLAGS)
        views = {
            "enhance-light": {"viewport": {"width": 1280, "height": 2000}},
            "enhance-dark": {"viewport": {"width": 1280, "height": 2000}, "color_scheme": "dark"},
            "enhance-phone": {
                "viewport": {"width": 390, "height": 2700},
                "is_mobile": True,
                "has_touch": True,
            },
        }
        for name, options in views.items():
            page = browser.new_context(**options).new_page()
            page.set_default_timeout(300_000)
            page.goto(address)
            enhance_examples(page)
            save(page, folder / f"{name}.png")
            page.context.close()
        for view, name in (("Compare models", "compare"), ("Results", "results")):
            page = browser.new_context(viewport={"width": 1280, "height": 1500}).new_page()
            page.set_default_timeout(300_000)
            page.goto(address)
            page.get_by_role("link", name=view).click()
            page.get_by_role("heading", name=view, level=1).wait_for()
            if name == "compare":
                page.get_by_role("slider", name="Before/after divider").wait_for()
                page.get_by_test_id("stDataFrame").first.wait_for()
            else:
                page.get_by_text("Sample sheets").wait_for()
            page.wait_for_timeout(3000)
            save(page, folder / f"{name}.png")
            page.context.close()
        browser.close()


if __name__ == "__main__":
    main()
