"""`python tether.py PARENT SIGNAL COMMAND…` runs a command that gets the signal when PARENT dies, however it dies.

Run by the runner in front of every child, so that kill -9 of `manage.py up` leaves no process. A program of its own and
not a `preexec_fn`, which is unsafe in a process with threads.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from types import FrameType

PR_SET_PDEATHSIG = 1


def become(parent: int, number: int, command: list[str]) -> None:
    """Linux: the kernel sends the signal. Returns only when the command cannot be run."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:  # it died before the kernel was told
        sys.exit(1)
    try:
        os.execvp(command[0], command)  # noqa: S606  the runner's own command line, no shell
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(127)


def follow(parent: int, number: int, command: list[str]) -> int:
    """Elsewhere: stay beside the command, hand SIGTERM on to it, look at the parent twice a second."""
    child = subprocess.Popen(command, close_fds=False)  # noqa: S603  the runner's own command line

    def hand_on(received: int, frame: FrameType | None) -> None:
        child.send_signal(received)

    signal.signal(signal.SIGTERM, hand_on)
    while child.poll() is None:
        if os.getppid() != parent:
            child.send_signal(number)
        time.sleep(0.5)
    return child.returncode


if __name__ == "__main__":
    act = become if sys.platform == "linux" else follow
    sys.exit(act(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
