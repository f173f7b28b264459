from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests import chromium


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium.launched() as browser:
        yield browser
