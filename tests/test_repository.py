"""What keeps the repository honest: public paths, documented lists, production settings, no secret in the tree."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import call_command, get_commands
from django.urls import get_resolver

ROOT = Path(__file__).resolve().parent.parent

PUBLIC = [
    ("infrastructure.persistence", "Database"),
    ("infrastructure.persistence", "Cache"),
    ("infrastructure.persistence", "BarStore"),
    ("infrastructure.persistence", "QuoteStore"),
    ("infrastructure.scheduling", "JobScheduler"),
    ("infrastructure.tradingview", "IDataProvider"),
    ("infrastructure.tradingview", "IStreamProvider"),
    ("infrastructure.tradingview", "TradingViewProvider"),
    ("infrastructure.tradingview", "TradingViewWebSocketProvider"),
    ("infrastructure.http_client", "HttpClient"),
    ("infrastructure.webhooks", "WebhookDispatcher"),
    ("marketdata.providers", "IDataProvider"),
    ("marketdata.providers", "IStreamProvider"),
    ("marketdata.providers", "TradingViewProvider"),
    ("marketdata.providers", "TradingViewWebSocketProvider"),
    ("marketdata.providers", "get_provider"),
    ("marketdata.providers", "get_stream_provider"),
]


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split("\0") if name]


@pytest.mark.parametrize(("module", "name"), PUBLIC)
def test_a_public_path_is_importable_and_named_in_all(module: str, name: str) -> None:
    package = importlib.import_module(module)
    assert hasattr(package, name)
    assert name in package.__all__


def test_each_dotted_path_in_the_settings_resolves() -> None:
    from django.conf import settings
    from django.utils.module_loading import import_string

    for path in (
        settings.MARKETDATA_PROVIDER,
        settings.MARKETDATA_STREAM_PROVIDER,
        settings.MARKETDATA_UPSTREAM_GATE,
        settings.Q_CLUSTER["broker_class"],
    ):
        assert callable(import_string(path))


@pytest.mark.django_db
def test_models_and_migrations_agree() -> None:
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)


def test_the_deployment_check_is_clean_under_production_settings(tmp_path: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "VAR_DIR": str(tmp_path),
        "SECRET_KEY": "a-long-random-value-" + "x9" * 30,
        "ALLOWED_HOSTS": "market.example.org",
        "HTTPS": "on",
        "MONGODB_URI": os.environ["MONGODB_URI"],
        "REDIS_URL": os.environ["REDIS_URL"],
        "MARKETDATA_SOURCE": "tradingview",
    }
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_command_list_in_operations_is_complete() -> None:
    ours = {name for name, app in get_commands().items() if app in ("infrastructure", "marketdata")}
    documented = set(re.findall(r"^\| `manage\.py (\w+)", (ROOT / "docs/operations.md").read_text(), re.MULTILINE))
    assert documented == ours


def test_the_route_list_in_operations_is_complete() -> None:
    def routes(resolver: object, prefix: str = "") -> set[str]:
        found: set[str] = set()
        for pattern in resolver.url_patterns:  # type: ignore[attr-defined]
            path = prefix + str(pattern.pattern)
            if path == "admin/":
                found.add(path)
            elif hasattr(pattern, "url_patterns"):
                found |= routes(pattern, path)
            elif "<path:" not in path:
                found.add(path)
        return found

    from marketdata.live.routing import websocket_urlpatterns

    served = {f"/{path}" for path in routes(get_resolver())}
    served |= {f"/{pattern.pattern}" for pattern in websocket_urlpatterns}
    documented = set(re.findall(r"^\| `(/[^`]*)`", (ROOT / "docs/operations.md").read_text(), re.MULTILINE))
    assert documented == served


CREDENTIALS = {
    "a JSON web token": r"eyJ[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}",
    "a session cookie": r"sessionid(?:_sign)?\s*[=:]\s*[\"']?(?:v\d:)?[A-Za-z0-9+/=]{20,}",
    "a webhook secret": r"whsec_[A-Za-z0-9+/=]{32,}",
    "a password in a URL": r"(?:mongodb(?:\+srv)?|rediss?)://[^\s:/@\"'{}<>*]+:(?!secret@|password@|made-up)[^\s/@\"'{}<>*]{6,}@",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY",
}


PUBLISHED = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # the vector in the Standard Webhooks specification


def test_no_credential_stands_in_the_tree() -> None:
    """Tokens and keys in tests are made there or plainly named as fake; nothing that looks real is committed."""
    found = []
    for path in tracked(
        "*.py", "*.md", "*.json", "*.txt", "*.js", "*.html", "*.toml", "*.in", ".env.example", ".ci/run"
    ):
        if path.name.startswith("requirements") or path.name == "package-lock.json" or path == Path(__file__):
            continue
        text = path.read_text().replace(PUBLISHED, "")
        found += [
            f"{path.relative_to(ROOT)}: {what}" for what, pattern in CREDENTIALS.items() if re.search(pattern, text)
        ]
    assert found == []


def test_adapters_read_no_environment_of_their_own() -> None:
    """Secrets enter through config/settings.py alone."""
    readers = [
        str(path.relative_to(ROOT))
        for path in tracked("infrastructure/*.py", "marketdata/*.py")
        if re.search(
            r"os\.(environ\[|environ\.get|getenv)\(?[\"']?(?:TRADINGVIEW|SECRET|.*TOKEN|.*COOKIE)", path.read_text()
        )
    ]
    assert readers == []
