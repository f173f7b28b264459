"""What `make` runs before anything is installed: tools/install.py and the Makefile's own check."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def install(folder: Path, file: Path, **variables: str) -> tuple[int, str, str]:
    command = [sys.executable, ROOT / "tools" / "install.py", "--venv", folder, file]
    run = subprocess.run(
        command, text=True, capture_output=True, env={**os.environ, **variables}, timeout=100, check=False
    )
    return run.returncode, run.stdout, run.stderr


def test_an_environment_is_made_once_and_again_only_when_its_file_has_changed(tmp_path: Path) -> None:
    folder, file = tmp_path / "venv", tmp_path / "requirements.txt"
    file.write_text("# nothing\n")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    creating = f"Creating {folder} with Python {version} …\n"
    installing = f"Installing requirements.txt into {folder} …\n"
    assert install(folder, file)[:2] == (0, creating + installing)
    assert install(folder, file) == (0, "", "")
    file.write_text("# nothing else\n")
    assert install(folder, file)[:2] == (0, installing)


@pytest.mark.slow
def test_a_broken_environment_is_made_anew(tmp_path: Path) -> None:
    folder, file = tmp_path / "venv", tmp_path / "requirements.txt"
    file.write_text("# nothing\n")
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(tmp_path / "gone")
    assert install(folder, file)[0] == 0
    assert subprocess.run([folder / "bin" / "python", "-m", "pip", "--version"], check=False).returncode == 0


@pytest.mark.slow
def test_what_pip_cannot_install_is_tried_again_the_next_time(tmp_path: Path) -> None:
    folder, file = tmp_path / "venv", tmp_path / "requirements.txt"
    file.write_text("./nowhere.whl --hash=sha256:00\n")
    for _ in range(2):
        code, said, complaint = install(folder, file)
        assert (code, "Installing requirements.txt" in said) == (1, True)
        assert complaint.splitlines()[-1] == "pip could not install requirements.txt: its lines above say why."


def test_the_library_that_the_bundled_mongodb_needs_is_asked_for_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "libcurl.so.4").touch()  # found first, and no library
    file = tmp_path / "requirements-embedded.txt"
    file.touch()
    assert install(tmp_path / "venv", file, LD_LIBRARY_PATH=str(tmp_path), MONGODB_URI="") == (
        1,
        "",
        "The bundled MongoDB needs libcurl4: sudo apt-get install -y libcurl4 (or set MONGODB_URI).\n",
    )
    assert not (tmp_path / "venv").exists()


def test_a_machine_without_a_new_enough_python_is_told_in_one_line() -> None:
    run = subprocess.run(
        ["make", "-s", "python", "INTERPRETERS=nowhere"], cwd=ROOT, text=True, capture_output=True, check=False
    )
    assert (run.returncode, run.stderr.splitlines()[0]) == (
        2,
        "Python 3.11 or newer is needed: sudo apt-get install -y python3.11 python3.11-venv",
    )
