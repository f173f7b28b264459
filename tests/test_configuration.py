"""The settings, `.env.example` and `docs/configuration.md` name the same variables with the same defaults."""

import os
import re
import subprocess
import sys
from pathlib import Path

from config import env

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = re.findall(r"^#(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
DOCUMENTED = re.findall(
    r"^\| `(\w+)` \| (?:`([^`]*)`)? ?\| ", (ROOT / "docs" / "configuration.md").read_text(), re.MULTILINE
)
SHOW = """
import json, django
from django.conf import settings
django.setup()
print(json.dumps({name: getattr(settings, name) for name in dir(settings) if name.isupper()}, default=str))
"""


def settings_with(tmp_path: Path, variables: dict[str, str]) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in env.NAMES}
    environment |= {"DJANGO_SETTINGS_MODULE": "config.settings", "SECRET_KEY": "k" * 50, "VAR_DIR": str(tmp_path)}
    return subprocess.check_output([sys.executable, "-c", SHOW], cwd=ROOT, env=environment | variables, text=True)


def test_every_variable_that_is_read_is_documented_and_in_the_example() -> None:
    assert sorted(name for name, _ in DOCUMENTED) == sorted(env.NAMES)
    assert EXAMPLE == DOCUMENTED


def test_the_documented_defaults_are_those_of_the_settings(tmp_path: Path) -> None:
    written_out = {name: default for name, default in DOCUMENTED if default and name != "VAR_DIR"}
    assert settings_with(tmp_path, written_out) == settings_with(tmp_path, {})
