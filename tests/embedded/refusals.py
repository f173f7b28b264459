"""Runs `manage.py up` where it must refuse to start; on a folder and a port of its own."""

import os
import subprocess
import sys
from pathlib import Path

from config import env
from infrastructure.embedded.ports import find_free
from tests.embedded.processes import DEADLINE_S

ROOT = Path(__file__).resolve().parent.parent.parent


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """Nothing of the test run's own stores: `up` starts its own."""
    clean = {name: value for name, value in os.environ.items() if name not in env.NAMES}
    return {**clean, "VAR_DIR": str(folder), "PORT": str(find_free()), **variables}


def refused(variables: dict[str, str]) -> tuple[int, str]:
    """Exit code and what it said on standard error."""
    run = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "up"],
        env=variables,
        text=True,
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
    )
    return run.returncode, run.stderr
