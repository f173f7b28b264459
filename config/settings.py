"""The only settings file. Every value that differs between machines comes from an environment variable through
`config.env`, which refuses bad input; `docs/configuration.md` lists them all, and a test keeps it complete."""

import json
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from config import env

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = Path(env.text("VAR_DIR", str(BASE_DIR / "var")))


def _embedded_ports() -> dict[str, int]:
    """Ports of the stores that `manage.py up` runs; written by it, read by every other command."""
    try:
        ports: dict[str, int] = json.loads((VAR_DIR / "ports.json").read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return ports


PORTS = {"mongodb": 27117, "redis": 6479, "simulator": 8765, **_embedded_ports()}

# --- Stores ---------------------------------------------------------------------------------------------------------
MONGODB_URI = env.url("MONGODB_URI", "", ("mongodb", "mongodb+srv"))
MONGODB_EMBEDDED = not MONGODB_URI
MONGODB_URI = MONGODB_URI or f"mongodb://127.0.0.1:{PORTS['mongodb']}/?replicaSet=rs0"
MONGODB_NAME = env.text("MONGODB_NAME", "marketdata")
MONGODB_TIMEOUT_S = env.number("MONGODB_TIMEOUT_S", 5, 0.1, 120)
REDIS_URL = env.url("REDIS_URL", "", ("redis", "rediss"))
REDIS_EMBEDDED = not REDIS_URL
REDIS_URL = (REDIS_URL or f"redis://127.0.0.1:{PORTS['redis']}").rstrip("/")
REDIS_DB = env.integer("REDIS_DB", 0, 0, 15)
REDIS_CACHE_DB = env.integer("REDIS_CACHE_DB", 1, 0, 15)  # its own: cache.clear() is FLUSHDB (design decision 13)
REDIS_TIMEOUT_S = env.number("REDIS_TIMEOUT_S", 5, 0.1, 120)

# --- Web ------------------------------------------------------------------------------------------------------------
DEBUG = env.switch("DEBUG", False)
SECRET_KEY = env.secret_key("SECRET_KEY", VAR_DIR / "secret_key", required=not MONGODB_EMBEDDED and not DEBUG)
HOST = env.text("HOST", "127.0.0.1")
PORT = env.integer("PORT", 8000, 1, 65535)
WEB_SERVER = env.choice("WEB_SERVER", "uvicorn", ("uvicorn", "daphne"))
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", ("127.0.0.1", "localhost", "[::1]"))
CSRF_TRUSTED_ORIGINS = env.words("CSRF_TRUSTED_ORIGINS")
HTTPS = env.switch("HTTPS", False)
BEHIND_PROXY = env.switch("BEHIND_PROXY", False)
#: Addresses and networks whose X-Forwarded-For and X-Forwarded-Proto are believed when BEHIND_PROXY is on.
TRUSTED_PROXIES = env.words("TRUSTED_PROXIES", ("127.0.0.1", "::1"))
#: Who may watch without logging in: a demo's convenience, so on only where the embedded simulator is the source.
ANONYMOUS_VIEWING = env.switch("ANONYMOUS_VIEWING", MONGODB_EMBEDDED)

# --- Source of market data ------------------------------------------------------------------------------------------
MARKETDATA_SOURCE = env.choice("MARKETDATA_SOURCE", "simulator", ("simulator", "tradingview", "replay"))
_REPLAYED = MARKETDATA_SOURCE == "replay"
MARKETDATA_PROVIDER = env.text(
    "MARKETDATA_PROVIDER",
    "infrastructure.replay.ReplayProvider" if _REPLAYED else "infrastructure.tradingview.TradingViewProvider",
)
MARKETDATA_STREAM_PROVIDER = env.text(
    "MARKETDATA_STREAM_PROVIDER",
    "infrastructure.replay.ReplayStreamProvider"
    if _REPLAYED
    else "infrastructure.tradingview.TradingViewWebSocketProvider",
)
#: The capture that `replay` plays, and recorded seconds in one of ours.
REPLAY_FILE = env.text("REPLAY_FILE")
REPLAY_SPEED = env.number("REPLAY_SPEED", 1, 0.01, 1_000_000)
#: `off` stops every request to the source, whatever the admin's switch says.
UPSTREAM = env.switch("UPSTREAM", True)
#: Called by the adapters before they send anything to the source; raises Rejected while the switch is off.
MARKETDATA_UPSTREAM_GATE = "marketdata.services.upstream.check"
SIMULATOR_SPEED = env.number("SIMULATOR_SPEED", 1, 0.01, 10_000)
SIMULATOR_SEED = env.integer("SIMULATOR_SEED", 1, 0, 2**31)
_SIMULATOR = f"127.0.0.1:{PORTS['simulator']}"
_REAL = MARKETDATA_SOURCE == "tradingview"
TRADINGVIEW = {
    "websocket_url": env.url(
        "TRADINGVIEW_WEBSOCKET_URL",
        "wss://data.tradingview.com/socket.io/websocket" if _REAL else f"ws://{_SIMULATOR}/socket.io/websocket",
        ("ws", "wss"),
    ),
    "search_url": env.url(
        "TRADINGVIEW_SEARCH_URL",
        "https://symbol-search.tradingview.com" if _REAL else f"http://{_SIMULATOR}",
        ("http", "https"),
    ),
    "scanner_url": env.url(
        "TRADINGVIEW_SCANNER_URL",
        "https://scanner.tradingview.com" if _REAL else f"http://{_SIMULATOR}",
        ("http", "https"),
    ),
    "site_url": env.url(
        "TRADINGVIEW_SITE_URL",
        "https://www.tradingview.com" if _REAL else f"http://{_SIMULATOR}",
        ("http", "https"),
    ),
    "origin": env.text("TRADINGVIEW_ORIGIN", "https://www.tradingview.com"),
    # Secrets: from the environment alone; they are never stored, shown or logged (design decision 19).
    "auth_token": env.text("TRADINGVIEW_AUTH_TOKEN", "unauthorized_user_token"),
    "session_cookie": env.text("TRADINGVIEW_SESSION_COOKIE"),
    "timeout_s": env.number("TRADINGVIEW_TIMEOUT_S", 20, 0.1, 300),
    #: Smallest pause between two history requests of one process; slow by default: see the README on terms.
    "pause_s": env.number("TRADINGVIEW_PAUSE_S", 1.0 if _REAL else 0.0, 0, 60),
    "page_bars": env.integer("TRADINGVIEW_PAGE_BARS", 5000, 1, 50_000),
    "symbols_per_connection": env.integer("TRADINGVIEW_SYMBOLS_PER_CONNECTION", 200, 1, 1000),
    "silence_s": env.number("TRADINGVIEW_SILENCE_S", 60, 0.1, 3600),
}

# --- Live -----------------------------------------------------------------------------------------------------------
LIVE_FLUSH_MS = env.integer("LIVE_FLUSH_MS", 50, 5, 5000)
LIVE_HEARTBEAT_S = env.number("LIVE_HEARTBEAT_S", 25, 0.1, 300)
LIVE_MAX_CONNECTIONS_PER_ADDRESS = env.integer("LIVE_MAX_CONNECTIONS_PER_ADDRESS", 50, 1, 1_000_000)
LIVE_MAX_CONNECTIONS_PER_ACCOUNT = env.integer("LIVE_MAX_CONNECTIONS_PER_ACCOUNT", 50, 1, 1_000_000)
LIVE_MAX_SYMBOLS = env.integer("LIVE_MAX_SYMBOLS", 2000, 1, 100_000)
LIVE_DEFLATE = env.switch("LIVE_DEFLATE", False)

# --- Webhooks -------------------------------------------------------------------------------------------------------
#: Networks that webhooks may be sent to although they are not public (10.0.0.0/8, 127.0.0.1/32); none by default.
WEBHOOK_ALLOWED_NETWORKS = env.words("WEBHOOK_ALLOWED_NETWORKS")

# --- Django ---------------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "infrastructure",  # first: its `runserver` serves websockets too, its `qcluster` is the safe one (decision 11)
    "config.apps.MongoAdminConfig",
    "config.apps.MongoAuthConfig",
    "config.apps.MongoContentTypesConfig",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "csp",
    "config.apps.MongoDjangoQConfig",
    "marketdata",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES = {
    "default": {
        "ENGINE": "django_mongodb_backend",
        "NAME": MONGODB_NAME,
        "HOST": MONGODB_URI,
        "OPTIONS": {
            "serverSelectionTimeoutMS": int(MONGODB_TIMEOUT_S * 1000),
            "connectTimeoutMS": int(MONGODB_TIMEOUT_S * 1000),
            "tz_aware": False,
        },
    }
}


class _NoGis:
    """Stands where GeoDjango expects a path. Asked for it, it ends the backend's search for GDAL, which this project
    does not use: three times `ldconfig` and `gcc`, a quarter of the processor time in which each command starts."""

    def __bool__(self) -> bool:
        raise ImproperlyConfigured("This project uses no GIS.")

    def __repr__(self) -> str:
        return "no GIS"


GDAL_LIBRARY_PATH = _NoGis()
DATABASE_ROUTERS = ["django_mongodb_backend.routers.MongoRouter"]
DEFAULT_AUTO_FIELD = "django_mongodb_backend.fields.ObjectIdAutoField"
MIGRATION_MODULES = {
    "admin": "config.mongo_migrations.admin",
    "auth": "config.mongo_migrations.auth",
    "contenttypes": "config.mongo_migrations.contenttypes",
    "django_q": "config.mongo_migrations.django_q",
}
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": f"{REDIS_URL}/{REDIS_CACHE_DB}",
        "KEY_PREFIX": "cache",
        "OPTIONS": {
            "CONNECTION_FACTORY": "infrastructure.persistence.redis.ConnectionFactory",
            "SOCKET_CONNECT_TIMEOUT": REDIS_TIMEOUT_S,
            "SOCKET_TIMEOUT": REDIS_TIMEOUT_S,
        },
    }
}
# A session row costs a collection scan on this backend; signed cookies need no store and survive a lost Redis.
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "admin:login"
LANGUAGE_CODE = "en-gb"
FORMAT_MODULE_PATH = "config.formats"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True
STATIC_URL = "static/"
WHITENOISE_USE_FINDERS = True
# A file that is edited while the embedded default runs is served as it is now.
WHITENOISE_AUTOREFRESH = MONGODB_EMBEDDED

Q_CLUSTER = {
    "name": "pulls",
    "workers": env.integer("WORKERS", 2, 1, 64),
    "timeout": 60,
    "retry": 200,  # from dequeue, prefetch included: must exceed timeout x (prefetch rounds + 1)
    "queue_limit": 1,
    "poll": 0.2,
    "scheduler": False,  # the tick of our own qcluster schedules
    "broker_class": "infrastructure.scheduling.broker.JobBroker",
    "ack_failures": True,
    "max_attempts": 3,
    "catch_up": False,
    "save_limit": 50,  # successes kept of each schedule; a common limit would lose those of the rare ones
    "save_limit_per": "group",
    "ALT_CLUSTERS": {"backfills": {"workers": 1, "timeout": 90, "retry": 300, "queue_limit": 1}},
}

# --- Security -------------------------------------------------------------------------------------------------------
SECURE_SSL_REDIRECT = HTTPS
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
SECURE_HSTS_PRELOAD = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BEHIND_PROXY else None
SESSION_COOKIE_HTTPONLY = True
X_FRAME_OPTIONS = "DENY"
DEFAULT_EXCEPTION_REPORTER_FILTER = "config.error_pages.Filter"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
        "form-action": ["'self'"],
    }
}

# --- Logging --------------------------------------------------------------------------------------------------------
LOG_LEVEL = env.choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR"))
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        name: {"handlers": ["stderr"], "level": LOG_LEVEL, "propagate": False}
        for name in ("config", "infrastructure", "marketdata")
    },
}
