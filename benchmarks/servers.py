"""A throw-away MongoDB, run as `manage.py up` runs it, and a Django that points at it."""

import asyncio
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import django

from infrastructure.backoff import Backoff
from infrastructure.embedded import Mongod, Runner, Service
from infrastructure.embedded.ports import find_free

START_S = 60


@contextmanager
def platform() -> Iterator[Path]:
    """Django is set up in the block; gives a folder that is deleted afterwards, on the disk that MongoDB uses too."""
    with tempfile.TemporaryDirectory(prefix="marketdata-bench-") as name:
        folder = Path(name)
        mongod = Mongod(find_free(), folder / "mongodb")
        os.environ["VAR_DIR"] = str(folder / "var")
        os.environ["SECRET_KEY"] = "benchmarks-only-" + "k" * 50
        os.environ["MONGODB_URI"] = f"mongodb://127.0.0.1:{mongod.port}/?replicaSet=rs0"
        os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
        with running(mongod.service()):
            django.setup()
            yield folder


@contextmanager
def running(service: Service) -> Iterator[None]:
    """A store that answers."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="stores", daemon=True)
    thread.start()
    runner = Runner(lambda name, line: print(f"{name}: {line}"), Backoff(1, 2, 5, 0))
    try:
        asyncio.run_coroutine_threadsafe(runner.start(service), loop).result(START_S)
        yield
    finally:
        asyncio.run_coroutine_threadsafe(runner.stop(), loop).result(START_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
