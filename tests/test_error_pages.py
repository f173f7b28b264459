import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SECRETS = {
    "TRADINGVIEW_AUTH_TOKEN": "made-up-token",
    "TRADINGVIEW_SESSION_COOKIE": "made-up-cookie",
    "MONGODB_URI": "mongodb://user:made-up-mongo@db.example/",
    "REDIS_URL": "redis://:made-up-redis@cache.example",
    "SECRET_KEY": "made-up-key-" + "k" * 50,
}
FAIL = """
import sys, django
from django.test import RequestFactory
from django.views.debug import technical_500_response
django.setup()
try:
    1 / 0
except ZeroDivisionError:
    page = technical_500_response(RequestFactory().get("/"), *sys.exc_info())
print(page.content.decode())
"""


def test_the_error_page_of_debug_shows_no_secret_setting(tmp_path: Path) -> None:
    variables = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings", "DEBUG": "on", "VAR_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", FAIL], cwd=ROOT, env=variables | SECRETS, capture_output=True, text=True, check=True
    )
    assert "TRADINGVIEW" in done.stdout
    assert "MONGODB_TIMEOUT_S" in done.stdout
    assert [line for line in done.stdout.splitlines() if "made-up" in line] == []
