"""System checks of the adapters' settings: what can be seen to be wrong without connecting anywhere, and what to do.

Registered by the app's `ready`; run by `manage.py check` and before most commands. No message repeats a value that may
hold a password. Ids are never used again for something else; `docs/configuration.md` lists the settings.
"""

from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.utils.module_loading import import_string
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from infrastructure.errors import Rejected
from infrastructure.tradingview.session import ANONYMOUS
from infrastructure.webhooks.addresses import parse_networks

LEAST_PAUSE_S = 0.5  # between two history requests to the real source

#: Key in settings.TRADINGVIEW, its environment variable, the schemes it may have (the encrypted one last).
_URLS = (
    ("websocket_url", "TRADINGVIEW_WEBSOCKET_URL", ("ws", "wss")),
    ("search_url", "TRADINGVIEW_SEARCH_URL", ("http", "https")),
    ("scanner_url", "TRADINGVIEW_SCANNER_URL", ("http", "https")),
    ("site_url", "TRADINGVIEW_SITE_URL", ("http", "https")),
    ("origin", "TRADINGVIEW_ORIGIN", ("http", "https")),
)


@register
def check_tradingview(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    return [*_urls(), *_pause()]


@register
def check_stores(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    return [*_mongodb(), *_redis()]


@register
def check_webhooks(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    try:
        parse_networks(settings.WEBHOOK_ALLOWED_NETWORKS)
    except Rejected as error:
        return [Error(str(error), "Write WEBHOOK_ALLOWED_NETWORKS like 10.0.0.0/8,fd00::/8.", id="infrastructure.E007")]
    return []


@register
def check_providers(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    for name in ("MARKETDATA_PROVIDER", "MARKETDATA_STREAM_PROVIDER", "MARKETDATA_UPSTREAM_GATE"):
        try:
            import_string(getattr(settings, name))
        except ImportError as error:
            hint = "Write the dotted path of a class or function."
            found.append(Error(f"{name} cannot be imported: {error}.", hint, id="infrastructure.E008"))
    if settings.MARKETDATA_SOURCE == "replay" and not Path(settings.REPLAY_FILE).is_file():
        hint = "Name a capture that `manage.py runfeed --record` wrote."
        found.append(
            Error("REPLAY_FILE names no file, but MARKETDATA_SOURCE is replay.", hint, id="infrastructure.E009")
        )
    return found


def _urls() -> Iterator[CheckMessage]:
    values: dict[str, Any] = settings.TRADINGVIEW
    secret = values["auth_token"] != ANONYMOUS or bool(values["session_cookie"])
    real = settings.MARKETDATA_SOURCE == "tradingview"
    for key, name, schemes in _URLS:
        url = _split(values[key])
        if url is None or url.scheme not in schemes:
            starts = " or ".join(f"{scheme}://" for scheme in schemes)
            yield Error(
                f"{name} is no usable URL.", f"It starts with {starts} and names a host.", id="infrastructure.E001"
            )
            continue
        if key == "origin":
            continue
        if not real and _is_tradingview(url):
            yield Error(
                f"{name} leads to TradingView, but MARKETDATA_SOURCE is simulator: real prices would pass as invented.",
                "Set MARKETDATA_SOURCE=tradingview, or leave the URL out.",
                id="infrastructure.E002",
            )
        if url.scheme != schemes[-1] and not _is_loopback(url) and (real or secret):
            what = "secrets" if secret else "requests to TradingView"
            yield Error(
                f"{name} is not encrypted, but {what} would be sent over it.",
                f"Use {schemes[-1]}://.",
                id="infrastructure.E003",
            )


def _pause() -> Iterator[CheckMessage]:
    values: dict[str, Any] = settings.TRADINGVIEW
    if settings.MARKETDATA_SOURCE == "tradingview" and values["pause_s"] < LEAST_PAUSE_S:
        yield Warning(
            f"TRADINGVIEW_PAUSE_S is below {LEAST_PAUSE_S:g}: TradingView blocks addresses that ask in a loop.",
            "Leave it at 1 or more; its terms of use restrict automated collection.",
            id="infrastructure.W001",
        )


def _mongodb() -> Iterator[CheckMessage]:
    uri = settings.MONGODB_URI
    try:
        if not uri.startswith("mongodb+srv://"):  # reading one of those asks the name server
            parse_uri(uri, warn=False)
    except (PyMongoError, ValueError) as error:
        reason = type(error).__name__  # its text may repeat the password
        yield Error(
            f"MONGODB_URI cannot be read ({reason}).",
            "Write mongodb://user:password@host:port/?replicaSet=name, with special characters percent-encoded.",
            id="infrastructure.E004",
        )


def _redis() -> Iterator[CheckMessage]:
    url = _split(settings.REDIS_URL)
    if url is None or url.scheme not in ("redis", "rediss") or url.path or url.query or url.fragment:
        yield Error(
            "REDIS_URL is not of the form redis://user:password@host:port.",
            "Database numbers are set by REDIS_DB and REDIS_CACHE_DB; leave path and query out.",
            id="infrastructure.E005",
        )
    if settings.REDIS_DB == settings.REDIS_CACHE_DB:
        yield Error(
            "REDIS_DB and REDIS_CACHE_DB are the same: clearing the cache would delete quotes and feed state.",
            "Give them two numbers.",
            id="infrastructure.E006",
        )


def _split(url: str) -> SplitResult | None:
    """None where it names no host or cannot be read."""
    try:
        parts = urlsplit(url)
        return parts if parts.hostname and (parts.port is None or parts.port) else None
    except ValueError:
        return None


def _is_tradingview(url: SplitResult) -> bool:
    return f".{url.hostname}".endswith(".tradingview.com")


def _is_loopback(url: SplitResult) -> bool:
    try:
        return ip_address(url.hostname or "").is_loopback
    except ValueError:
        return url.hostname == "localhost"
