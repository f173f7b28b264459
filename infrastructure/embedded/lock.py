"""One `manage.py up` per folder: a file lock that the children inherit, so it lasts until the last of them is gone."""

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from infrastructure.errors import Rejected


class FolderLock:
    """`fileno()` is handed to the children. A holder that is alive is refused at once; what a killed one left behind
    dies with it within moments (see tether.py), so that is waited for, up to `patience_s`."""

    def __init__(self, path: Path, patience_s: float = 20) -> None:
        self._path = path
        self._patience_s = patience_s
        self._file: int | None = None

    def __enter__(self) -> Self:
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                holder = os.pread(file, 20, 0).decode(errors="replace").strip()
                if _alive(holder) or time.monotonic() > deadline:
                    os.close(file)
                    raise Rejected(self._refusal(holder)) from None
            time.sleep(0.1)
        os.ftruncate(file, 0)
        os.pwrite(file, str(os.getpid()).encode(), 0)
        self._file = file
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def fileno(self) -> int:
        if self._file is None:
            raise ValueError("the folder is not locked")
        return self._file

    def _refusal(self, holder: str) -> str:
        return (
            f"The platform already runs on {self._path.parent} (process {holder}): stop that one first, "
            "or give this one a folder and a port of its own with VAR_DIR and PORT."
        )


def _alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except PermissionError:  # somebody else's, but there
        return True
    except (ValueError, ProcessLookupError):
        return False
    return True
