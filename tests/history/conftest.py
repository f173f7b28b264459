"""The platform's fixtures: a simulator whose clock stands still as the source, and empty collections."""

from tests.platform.conftest import bars, client_of, empty, frozen, provider, source

__all__ = ["bars", "client_of", "empty", "frozen", "provider", "source"]
