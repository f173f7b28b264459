"""What keeps `manage.py up` from starting is one sentence with the way out, and exit code 2; nothing stays behind."""

import os
import socket
from pathlib import Path

import pytest

from infrastructure.embedded import FolderLock
from tests.embedded.processes import plant_newer_version, uses
from tests.embedded.refusals import environment, refused


@pytest.fixture(autouse=True)
def nothing_stays(tmp_path: Path) -> object:
    yield
    assert uses(tmp_path) == []


def test_a_second_one_on_the_same_folder(tmp_path: Path) -> None:
    with FolderLock(tmp_path / "up.lock"):
        assert refused(environment(tmp_path)) == (
            2,
            f"The platform already runs on {tmp_path} (process {os.getpid()}): stop that one first, "
            "or give this one a folder and a port of its own with VAR_DIR and PORT.\n",
        )


def test_a_web_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert refused(environment(tmp_path, PORT=str(port))) == (
            2,
            f"Port {port} on 127.0.0.1 is in use: stop what listens there, or choose another with PORT.\n",
        )


def test_a_platform_without_a_mongod(tmp_path: Path) -> None:
    """The package is there, as on every platform, but has no program for this one."""
    package = tmp_path / "packages" / "fiftyone"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    assert refused(environment(tmp_path, PYTHONPATH=str(package.parent), PATH=str(tmp_path))) == (
        2,
        "No mongod for this platform: install one so that it is on PATH, or set MONGODB_URI.\n",
    )


def test_a_library_that_mongod_misses(tmp_path: Path) -> None:
    (tmp_path / "libcurl.so.4").touch()  # found first, and no library
    assert refused(environment(tmp_path, LD_LIBRARY_PATH=str(tmp_path))) == (
        2,
        "mongod cannot load libcurl.so.4: sudo apt-get install -y libcurl4 (or set MONGODB_URI).\n",
    )


def test_data_of_a_newer_mongodb(tmp_path: Path) -> None:
    data = tmp_path / "mongodb"
    data.mkdir()
    plant_newer_version(data)
    assert refused(environment(tmp_path)) == (
        2,
        f"The data in {data} was written by another version of MongoDB than this mongod can read: "
        "move that folder away to start afresh, or run the right MongoDB on it and set MONGODB_URI.\n",
    )


def test_a_setting_that_cannot_be_used(tmp_path: Path) -> None:
    assert refused(environment(tmp_path, PORT="http")) == (
        2,
        "PORT must be a whole number between 1 and 65535, not 'http'.\n",
    )


def test_a_password_in_a_wrong_address_is_not_repeated(tmp_path: Path) -> None:
    assert refused(environment(tmp_path, MONGODB_URI="http://user:hunter2@db")) == (
        2,
        "MONGODB_URI must be a URL that starts with mongodb:// or mongodb+srv://.\n",
    )
