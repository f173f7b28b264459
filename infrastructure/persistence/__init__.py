from infrastructure.persistence.mongodb import Database, Lease, at_most, mongodb_errors
from infrastructure.persistence.quotes import QuoteStore
from infrastructure.persistence.redis import Cache
from infrastructure.persistence.redis_async import AsyncCache, LiveSubscription

__all__ = ["AsyncCache", "Cache", "Database", "Lease", "LiveSubscription", "QuoteStore", "at_most", "mongodb_errors"]
