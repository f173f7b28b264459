"""Where only accounts may watch: the way over the login to live prices, and out again."""

from pathlib import Path

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import BrowserContext, expect

from infrastructure.persistence import Database
from tests.browser.site import DEADLINE_S, running_site
from tests.persistence.conftest import RedisServer

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

SHARE = "NASDAQ:AAPL"
PASSWORD = "made-up-for-a-test"


@pytest.mark.parametrize("server", ["uvicorn", pytest.param("daphne", marks=pytest.mark.slow)])
def test_a_viewer_logs_in_and_sees_live_prices_and_logs_out(
    tmp_path: Path, redis_server: RedisServer, database: Database, context: BrowserContext, server: str
) -> None:
    User.objects.create_user("ann", password=PASSWORD)  # no staff: she only looks
    with running_site(tmp_path, redis_server, database, context, ANONYMOUS_VIEWING="off", WEB_SERVER=server) as site:
        page = site.open()
        expect(page).to_have_url(f"{site.url}/login/?next=/")
        for password in ("wrong", PASSWORD):
            page.get_by_label("User name").fill("ann")
            page.get_by_label("Password").fill(password)
            page.get_by_role("button", name="Log in").click()
            if password == "wrong":
                expect(page.get_by_role("alert")).to_contain_text("correct username and password")
        expect(page.locator("#connection")).to_have_text("connected", timeout=DEADLINE_S * 1000)
        site.speaker.quote(SHARE, 189.5)
        price = page.locator(f"tr[data-symbol='{SHARE}'] td.last")
        expect(price).to_have_text("189.50")
        site.speaker.quote(SHARE, 190.25)
        expect(price).to_have_text("190.25")
        page.get_by_role("button", name="Log out").click()
        expect(page).to_have_url(f"{site.url}/login/?next=/")
