"""A real browser: Debian's headless Chromium, driven by Playwright.

`make test-app` runs these tests; they need requirements/app.txt and  apt-get install chromium.
"""

import shutil

import pytest
from playwright.sync_api import sync_playwright

CHROMIUM = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--use-fake-ui-for-media-stream",  # says yes to the microphone
    "--use-fake-device-for-media-stream",  # which beeps
)


@pytest.fixture(scope="session")
def browser():
    path = shutil.which("chromium")
    if not path:
        pytest.skip("there is no chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM)
        yield browser
        browser.close()
