"""`manage.py`, which also writes to the file FORK_TRACE what is open at each fork of each of its processes."""

import json
import os
import threading
from pathlib import Path

import psutil


def note_what_is_open() -> None:
    ports = [connection.raddr.port for connection in psutil.Process().net_connections("tcp") if connection.raddr]
    threads = [thread.name for thread in threading.enumerate() if "pymongo" in thread.name]
    with Path(os.environ["FORK_TRACE"]).open("a") as file:
        file.write(json.dumps({"pid": os.getpid(), "ports": ports, "threads": threads}) + "\n")


if __name__ == "__main__":
    # Before-fork hooks run last registered first: this one sees what the project's own hooks have left.
    os.register_at_fork(before=note_what_is_open)
    from django.core.management import execute_from_command_line

    execute_from_command_line()
