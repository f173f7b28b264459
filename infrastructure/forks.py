"""What a process does around its own forks: no open client crosses one, and no child outlives its parent.

Adapters that keep a client per process name its closer with `before_fork`; a command that forks (`qcluster`) calls
`install` once. A closed client opens again by itself at its next use, in the parent and in the child.
"""

import ctypes
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable

from django.core.cache import caches
from django.db import connections

logger = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1  # <sys/prctl.h>
DRIVER_THREAD_S = 2.0
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
_closers: list[Callable[[], None]] = []
_forking_pid = 0


def before_fork(closer: Callable[[], None]) -> Callable[[], None]:
    """Has `closer` called before each fork of a process that installed the hooks; usable as a decorator."""
    _closers.append(closer)
    return closer


def install() -> None:
    """Hooks every later fork of this process and of its children. Cannot be undone: for commands, not for the web."""
    os.register_at_fork(before=_before, after_in_child=_in_child)


@before_fork
def _close_databases() -> None:
    for connection in connections.all(initialized_only=True):
        # connections.close_all() leaves the MongoClient and its threads open: close() does nothing on this backend.
        getattr(connection, "close_pool", connection.close)()
    for thread in threading.enumerate():
        if thread.name.startswith("pymongo_"):  # they notice within half a second, one of them with a socket in hand
            thread.join(DRIVER_THREAD_S)


@before_fork
def _close_caches() -> None:
    for cache in caches.all(initialized_only=True):
        # django-redis: close() leaves the pool connected unless a setting says otherwise.
        getattr(getattr(cache, "client", None), "do_close_clients", cache.close)()


def _before() -> None:
    global _forking_pid
    _forking_pid = os.getpid()
    for closer in _closers:
        try:
            closer()
        except Exception:  # a client that cannot be closed must not keep the others open
            logger.exception("a client could not be closed before a fork")


def _in_child() -> None:
    if _libc:  # elsewhere (macOS) the children of a killed parent live on
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != _forking_pid:  # the parent died before prctl
            os._exit(1)
    os.setpgid(0, 0)  # a terminal's Ctrl-C, or a signal to the group, reaches the parent alone
