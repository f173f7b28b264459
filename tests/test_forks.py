import os
import subprocess
import sys

PROGRAM = """
import os, django
django.setup()
from infrastructure import forks

@forks.before_fork
def broken() -> None:
    raise ValueError("cannot be closed")

@forks.before_fork
def sound() -> None:
    print("closed", flush=True)

forks.install()
if child := os.fork():
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print("own group" if os.getpgrp() == os.getpid() else "same group", flush=True)
os._exit(0)
"""


def test_a_client_that_cannot_be_closed_keeps_no_other_open() -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"}
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert ended.stdout.splitlines() == ["closed", "own group"]
    assert ended.stderr.startswith("ERROR infrastructure.forks: a client could not be closed before a fork")
