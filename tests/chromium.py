"""A real Chromium, and what tests look at in the live page.

Used by fixtures of packages: Playwright's event loop runs as long as the browser does, and no asynchronous test can.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
CHANGED = """async ([wanted, ms]) => {
  const changed = new Set();
  const watch = new MutationObserver((records) => {
    for (const { target } of records) {
      const cell = (target.nodeType === 1 ? target : target.parentElement)?.closest("td.last");
      if (cell) changed.add(cell.closest("tr").dataset.symbol);
    }
  });
  watch.observe(document.querySelector("#watchlist tbody"), { subtree: true, childList: true, characterData: true });
  const end = performance.now() + ms;
  while (changed.size < wanted && performance.now() < end) await new Promise((r) => setTimeout(r, 100));
  watch.disconnect();
  return [...changed];
}"""


def program() -> str:
    """Its path; skips the test where there is none."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI must install a Chromium (apt-get install chromium)")
        pytest.skip("no Chromium on PATH (apt-get install chromium)")
    return path


@contextlib.contextmanager
def launched() -> Iterator[Browser]:
    path = program()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


def changing_symbols(page: Page, wanted: int, timeout_s: float = 60) -> list[str]:
    """Symbols whose shown price changes from now on, until so many have."""
    symbols: list[str] = page.evaluate(CHANGED, [wanted, timeout_s * 1000])
    return symbols
