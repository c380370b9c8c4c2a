"""The page of show_report.py, of the published runs, in a real browser as wide as a phone.

With REPORT_PICTURE=some.png the screenshot is kept, to be looked at.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

HERE = Path(__file__).resolve().parents[2]
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The page of the published sets of the faithful pair."""
    results = tmp_path_factory.mktemp("report") / "results"
    shutil.copytree(HERE / "results_published" / "4k", results)
    words = [sys.executable, "show_report.py", "--results", str(results)]
    subprocess.run(words, cwd=HERE, check=True, capture_output=True)
    return results / "report.html"


def test_the_report_fits_a_phone(browser, report, tmp_path):
    page = browser.new_page(viewport=PHONE, device_scale_factor=2, is_mobile=True)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"file://{report}")
    closed = page.locator("details:not([open]) > summary")
    while closed.count():  # each click leaves one fewer
        closed.first.click()
    # Nothing is wider than the screen but what scrolls by itself, and all pictures are there.
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    widths = page.evaluate("[...document.images].map(image => image.naturalWidth)")
    assert len(widths) > 10 and min(widths) > 100
    size = "element => parseFloat(getComputedStyle(element).fontSize)"
    assert page.locator("p").first.evaluate(size) >= 14
    assert {url.split(":")[0] for url in asked} <= {"file", "data"}
    path = Path(os.environ.get("REPORT_PICTURE", tmp_path / "report.png"))
    page.screenshot(path=path, full_page=True)
    pixels = np.asarray(Image.open(path).convert("L"))
    assert pixels.shape[1] == 2 * PHONE["width"] and pixels.shape[0] > 2 * PHONE["height"]
    # No stretch as long as two screens is empty.
    is_written = (pixels != pixels[0, 0]).any(axis=1)
    assert np.diff(np.flatnonzero(is_written)).max() < 2 * PHONE["height"]
    page.close()
