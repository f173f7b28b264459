"""Runs a function in a forked child and gives what it returned, as text."""

import os
import traceback
from collections.abc import Callable


def in_child(work: Callable[[], str]) -> str:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            answer = work()
        except BaseException:  # noqa: BLE001 - the parent's assertion shows it
            answer = traceback.format_exc()
        os.write(writing, answer.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return answer
