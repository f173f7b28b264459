"""Readers of environment variables: each refuses a value it cannot use, and says which variable and why."""

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

#: Every variable that was asked for, in order: the documentation test compares it with the lists.
NAMES: list[str] = []


def text(name: str, default: str = "") -> str:
    if name not in NAMES:
        NAMES.append(name)
    return os.environ.get(name, "").strip() or default


def switch(name: str, default: bool) -> bool:
    value = text(name, "on" if default else "off").lower()
    if value not in ("on", "off"):
        raise ImproperlyConfigured(f"{name} must be 'on' or 'off', not {value!r}.")
    return value == "on"


def integer(name: str, default: int, low: int, high: int) -> int:
    value = text(name, str(default))
    try:
        number = int(value)
    except ValueError:
        number = low - 1
    if not low <= number <= high:
        raise ImproperlyConfigured(f"{name} must be a whole number between {low} and {high}, not {value!r}.")
    return number


def number(name: str, default: float, low: float, high: float) -> float:
    value = text(name, str(default))
    try:
        result = float(value)
    except ValueError:
        result = float("nan")
    if not low <= result <= high:
        raise ImproperlyConfigured(f"{name} must be a number between {low:g} and {high:g}, not {value!r}.")
    return result


def choice(name: str, default: str, options: Sequence[str]) -> str:
    value = text(name, default)
    if value not in options:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(options)}, not {value!r}.")
    return value


def words(name: str, default: Sequence[str] = ()) -> list[str]:
    """A comma-separated list; blanks around and empty items are dropped."""
    return [item.strip() for item in text(name, ",".join(default)).split(",") if item.strip()]


def url(name: str, default: str, schemes: Sequence[str]) -> str:
    value = text(name, default)
    if value:
        try:
            parts = urlsplit(value)
            usable = parts.scheme in schemes and bool(parts.hostname)
        except ValueError:
            usable = False
        if not usable:  # the value itself stays out of the message: it may hold a password
            raise ImproperlyConfigured(
                f"{name} must be a URL that starts with {' or '.join(s + '://' for s in schemes)}."
            )
    return value


def secret_key(name: str, path: Path, required: bool) -> str:
    """The variable, or (where it is not required) a random key kept in `path`, made at the first start."""
    value = text(name)
    if value:
        return value
    if required:
        raise ImproperlyConfigured(f"{name} must be set when MONGODB_URI is: every process needs the same key.")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(64))
    except FileExistsError:
        pass
    return path.read_text().strip()
