"""The one-machine default: a real mongod and a real redis-server as supervised child processes on loopback."""

from infrastructure.embedded.lock import FolderLock
from infrastructure.embedded.mongod import Mongod
from infrastructure.embedded.redis_server import RedisServer
from infrastructure.embedded.runner import Runner, Service

__all__ = ["FolderLock", "Mongod", "RedisServer", "Runner", "Service"]
