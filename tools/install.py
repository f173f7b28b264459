"""Creates a virtual environment and installs pinned requirement files into it; does nothing when they have not changed.

Run by the Makefile with any Python from 3.11 on, before a single dependency is there: standard library only.
"""

import argparse
import ctypes
import hashlib
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

OLDEST = (3, 11)
EMBEDDED = "requirements-embedded.txt"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venv", type=Path, default=Path(".venv"))
    parser.add_argument("files", nargs="+", type=Path)
    arguments = parser.parse_args()
    if EMBEDDED in (file.name for file in arguments.files):
        check_libraries()
    stamp = arguments.venv / "installed.json"
    wanted = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in arguments.files}
    python = arguments.venv / "bin" / "python"
    usable = works(python)
    installed = read(stamp) if usable else {}
    if wanted.items() <= installed.items():
        return
    if not usable:
        create(arguments.venv)
    print(f"Installing {', '.join(wanted)} into {arguments.venv} …", flush=True)
    files = [word for file in arguments.files for word in ("-r", str(file))]
    pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--require-hashes"]
    if subprocess.run([*pip, *files], check=False).returncode:
        sys.exit(f"pip could not install {', '.join(wanted)}: its lines above say why.")
    stamp.write_text(json.dumps(installed | wanted, indent=1))


def check_libraries() -> None:
    """The bundled mongod is linked against libcurl4, which a minimal Linux lacks."""
    if sys.platform != "linux" or os.environ.get("MONGODB_URI"):
        return
    try:
        ctypes.CDLL("libcurl.so.4")
    except OSError:
        sys.exit("The bundled MongoDB needs libcurl4: sudo apt-get install -y libcurl4 (or set MONGODB_URI).")


def works(python: Path) -> bool:
    """False where there is none, where its base interpreter has gone, or where it is too old."""
    check = f"import sys; sys.exit(sys.version_info < {OLDEST})"
    return python.exists() and subprocess.run([python, "-c", check], check=False).returncode == 0


def read(stamp: Path) -> dict[str, str]:
    try:
        content: dict[str, str] = json.loads(stamp.read_text())
    except (OSError, ValueError):
        return {}
    return content


def create(folder: Path) -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    try:
        import ensurepip  # noqa: F401  Debian packs it apart from Python, and venv fails half-way without it
    except ImportError:
        sys.exit(f"Python {version} cannot make virtual environments: sudo apt-get install -y python{version}-venv")
    print(f"Creating {folder} with Python {version} …", flush=True)
    venv.create(folder, clear=True, with_pip=True)


if __name__ == "__main__":
    main()
