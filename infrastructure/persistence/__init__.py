from infrastructure.persistence.bar_documents import Series, Written
from infrastructure.persistence.bars import BarStore
from infrastructure.persistence.coverage import Coverage, CoverageStore
from infrastructure.persistence.findings import FindingStore, Found
from infrastructure.persistence.mongodb import Database, Lease, at_most, mongodb_errors
from infrastructure.persistence.quotes import QuoteStore
from infrastructure.persistence.redis import Cache
from infrastructure.persistence.redis_async import AsyncCache, LiveSubscription
from infrastructure.persistence.revisions import Replaced, Revisions

__all__ = [
    "AsyncCache",
    "BarStore",
    "Cache",
    "Coverage",
    "CoverageStore",
    "Database",
    "FindingStore",
    "Found",
    "Lease",
    "LiveSubscription",
    "QuoteStore",
    "Replaced",
    "Revisions",
    "Series",
    "Written",
    "at_most",
    "mongodb_errors",
]
