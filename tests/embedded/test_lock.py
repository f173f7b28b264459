import os
import subprocess
import sys
from pathlib import Path

import pytest

from infrastructure.embedded import FolderLock
from infrastructure.errors import Rejected
from tests.embedded.processes import DEADLINE_S


def test_a_folder_in_use_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with (
        FolderLock(tmp_path / "up.lock"),
        pytest.raises(Rejected) as caught,
        FolderLock(tmp_path / "up.lock"),
    ):
        pass
    assert str(caught.value) == (
        f"The platform already runs on {tmp_path} (process {os.getpid()}): stop that one first, "
        "or give this one a folder and a port of its own with VAR_DIR and PORT."
    )


def test_a_folder_that_was_left_is_free_again(tmp_path: Path) -> None:
    for _ in range(2):
        with FolderLock(tmp_path / "up.lock") as lock:
            assert os.fstat(lock.fileno()).st_size == len(str(os.getpid()))


HOLDER = """
import subprocess, sys
from pathlib import Path
from infrastructure.embedded import FolderLock
with FolderLock(Path(sys.argv[1])) as lock:
    child = subprocess.Popen(["sleep", sys.argv[2]], pass_fds=[lock.fileno()], stdout=subprocess.DEVNULL)
    print(child.pid, flush=True)
    child.wait()
"""


def kill_a_holder(path: Path, child_lives_s: str) -> int:
    """Locks in another process, kills that with -9; its child, whose pid this is, still holds the lock."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, path, child_lives_s], stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        child = int(holder.stdout.readline())
        holder.kill()
        holder.wait(DEADLINE_S)
    return child


def test_the_children_of_a_killed_one_are_waited_for(tmp_path: Path) -> None:
    kill_a_holder(tmp_path / "up.lock", "1")
    with FolderLock(tmp_path / "up.lock", patience_s=DEADLINE_S) as lock:
        assert lock.fileno() > 0


def test_the_children_of_a_killed_one_are_not_waited_for_without_end(tmp_path: Path) -> None:
    child = kill_a_holder(tmp_path / "up.lock", "600")
    try:
        with (
            pytest.raises(Rejected, match="already runs"),
            FolderLock(tmp_path / "up.lock", patience_s=0.2),
        ):
            pass
    finally:
        os.kill(child, 9)
