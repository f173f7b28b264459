"""Takes the pictures of the README: python tools/screenshots.py URL PASSWORD FOLDER, beside `manage.py up`."""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


def main(url: str, password: str, folder: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(url)
        page.wait_for_selector('#chart[data-bars]:not([data-bars="0"])')
        page.wait_for_timeout(5000)
        page.screenshot(path=folder / "live.png")
        page.goto(f"{url}/admin/login/?next=/admin/marketdata/symbol/")
        page.fill("#id_username", "admin")
        page.fill("#id_password", password)
        page.click("[type=submit]")
        page.wait_for_selector("#result_list")
        page.screenshot(path=folder / "admin.png")
        page.goto(f"{url}/admin/")
        page.screenshot(path=folder / "admin-index.png")
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/"), sys.argv[2], Path(sys.argv[3]))
