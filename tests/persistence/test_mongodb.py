import os
import threading
from datetime import UTC, datetime

import bson.errors
import pymongo.errors
import pytest
from django.db import connection, connections

from infrastructure.errors import Malformed, Rejected, Unavailable
from infrastructure.persistence import Database, mongodb_errors
from infrastructure.persistence.mongodb import translated
from tests.persistence.forking import in_child
from tests.servers import free_port

UNAVAILABLE = {
    "AutoReconnect", "ConnectionFailure", "CursorNotFound", "ExecutionTimeout", "NetworkTimeout", "NotPrimaryError",
    "ServerSelectionTimeoutError", "WTimeoutError", "WaitQueueTimeoutError", "_OperationCancelled",
}  # fmt: skip
MALFORMED = {"InvalidBSON", "ProtocolError"}
REJECTED = {
    "BSONError", "BulkWriteError", "ClientBulkWriteException", "CollectionInvalid", "ConfigurationError",
    "DocumentTooLarge", "DuplicateKeyError", "EncryptedCollectionError", "EncryptionError", "InvalidDocument",
    "InvalidId", "InvalidName", "InvalidOperation", "InvalidStringData", "InvalidURI", "OperationFailure",
    "PyMongoError", "WriteConcernError", "WriteError",
}  # fmt: skip


def _without_details(cls: type[Exception]) -> Exception:
    error = cls.__new__(cls)
    if isinstance(error, pymongo.errors.PyMongoError):
        pymongo.errors.PyMongoError.__init__(error, "text")
    return error


def test_each_exception_class_of_the_driver_has_its_kind() -> None:
    classes = {
        cls
        for module in (pymongo.errors, bson.errors)
        for cls in vars(module).values()
        if isinstance(cls, type) and issubclass(cls, pymongo.errors.PyMongoError | bson.errors.BSONError)
    }
    kinds = {Unavailable: UNAVAILABLE, Malformed: MALFORMED, Rejected: REJECTED}
    found = {cls.__name__: type(translated(_without_details(cls))) for cls in classes}
    assert found == {name: kind for kind, names in kinds.items() for name in names}


def test_a_write_conflict_and_a_transient_label_mean_try_again() -> None:
    conflict = pymongo.errors.OperationFailure("conflict", 112)
    labelled = pymongo.errors.OperationFailure("gone", 251, {"errorLabels": ["TransientTransactionError"]})
    assert [type(translated(error)) for error in (conflict, labelled)] == [Unavailable, Unavailable]


def test_errors_inside_the_context_are_translated_with_their_cause(database: Database) -> None:
    database.collection("probe").insert_one({"_id": 1})
    with pytest.raises(Rejected, match="duplicate key") as caught, mongodb_errors():
        database.collection("probe").insert_one({"_id": 1})
    assert isinstance(caught.value.__cause__, pymongo.errors.DuplicateKeyError)


def test_an_unreachable_server_is_unavailable_in_one_short_sentence() -> None:
    address = f"127.0.0.1:{free_port()}"
    client = pymongo.MongoClient(f"mongodb://{address}", serverSelectionTimeoutMS=50)
    with client, pytest.raises(Unavailable) as caught, mongodb_errors():
        client.admin.command("ping")
    assert str(caught.value).startswith(f"MongoDB does not answer: {address}")
    assert len(str(caught.value)) < 200


def test_the_client_is_djangos_own_and_datetimes_are_aware(database: Database) -> None:
    moment = datetime(1969, 7, 20, 20, 17, 40, 123_000, tzinfo=UTC)
    database.collection("probe").insert_one({"_id": "landing", "at": moment})
    assert database.collection("probe").find_one() == {"_id": "landing", "at": moment}
    assert database.collection("probe").database.client is connection.connection


def test_the_servers_clock_is_read_in_milliseconds(database: Database) -> None:
    database.ping()
    before = database.now_ms()
    written = database.collection("probe").find_one_and_update(
        {"_id": 1}, [{"$set": {"at": "$$NOW"}}], upsert=True, return_document=True
    )
    after = database.now_ms()
    assert before <= int(written["at"].timestamp() * 1000) <= after


def test_a_transaction_is_committed_whole(database: Database) -> None:
    probe = database.collection("probe")

    def work(session: pymongo.client_session.ClientSession) -> str:
        probe.insert_one({"_id": "a"}, session=session)
        probe.insert_one({"_id": "b"}, session=session)
        assert probe.count_documents({}) == 0  # nobody outside sees it yet
        return "done"

    assert database.transaction(work) == "done"
    assert [document["_id"] for document in probe.find().sort("_id")] == ["a", "b"]


def test_an_exception_undoes_a_transaction_and_is_passed_on(database: Database) -> None:
    probe = database.collection("probe")

    def work(session: pymongo.client_session.ClientSession) -> None:
        probe.insert_one({"_id": "a"}, session=session)
        raise LookupError("changed my mind")

    with pytest.raises(LookupError, match="changed my mind"):
        database.transaction(work)
    assert list(probe.find()) == []


def test_transactions_in_conflict_are_run_again_until_both_are_in(database: Database) -> None:
    probe = database.collection("probe")
    probe.insert_one({"_id": "count", "n": 0})
    both_have_read = threading.Barrier(2, timeout=30)
    runs: list[str] = []

    def count(name: str) -> None:
        def work(session: pymongo.client_session.ClientSession) -> None:
            n = probe.find_one({"_id": "count"}, session=session)["n"]
            runs.append(name)
            if runs.count(name) == 1:
                both_have_read.wait()
            probe.update_one({"_id": "count"}, {"$set": {"n": n + 1}}, session=session)

        Database().transaction(work)

    threads = [threading.Thread(target=count, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert probe.find_one() == {"_id": "count", "n": 2}
    assert len(runs) > 2


def test_a_conflict_that_stays_is_unavailable_at_the_deadline(database: Database) -> None:
    probe = database.collection("probe")
    probe.insert_one({"_id": "hot", "n": 0})
    client = probe.database.client
    with client.start_session() as other, other.start_transaction():
        probe.update_one({"_id": "hot"}, {"$inc": {"n": 1}}, session=other)
        with pytest.raises(Unavailable):
            database.transaction(
                lambda session: probe.update_one({"_id": "hot"}, {"$inc": {"n": 10}}, session=session), deadline_s=0.3
            )
    assert probe.find_one() == {"_id": "hot", "n": 1}


def test_a_lease_has_one_owner_and_a_fence_that_grows(database: Database) -> None:
    first = database.lease("feed", "one", ttl_s=60)
    second = database.lease("feed", "two", ttl_s=60)
    assert (first.acquire(), second.acquire()) == (True, False)
    assert (first.renew(), second.renew()) == (True, False)
    assert (first.held, second.held) == (True, False)
    first.release()
    assert (first.held, first.renew(), second.acquire()) == (False, False, True)
    assert (first.fence, second.fence) == (1, 2)


def test_an_expired_lease_goes_to_another_owner_and_is_not_renewed(database: Database) -> None:
    first, second = database.lease("feed", "one", ttl_s=0), database.lease("feed", "two", ttl_s=60)
    assert first.acquire()
    assert not first.renew()
    assert second.acquire()
    first.release()  # of something it no longer holds
    assert second.renew()


def test_a_restarted_owner_takes_its_lease_back_and_outranks_its_past(database: Database) -> None:
    past, present = database.lease("feed", "$host", ttl_s=60), database.lease("feed", "$host", ttl_s=60)
    assert (past.acquire(), present.acquire()) == (True, True)
    assert (past.fence, present.fence) == (1, 2)
    assert (past.renew(), present.renew()) == (False, True)


def test_a_holder_counts_its_lease_as_lost_by_its_own_clock(database: Database) -> None:
    now = [100.0]
    lease = database.lease("feed", "one", ttl_s=10, monotonic=lambda: now[0])
    assert lease.acquire()
    now[0] = 109.9
    assert lease.held
    now[0] = 110.0
    assert not lease.held


def test_many_threads_get_one_lease_once_and_one_client(database: Database) -> None:
    granted: list[str] = []
    clients = set()
    together = threading.Barrier(8, timeout=30)

    def run(owner: str) -> None:
        own = Database()
        clients.add(id(own.collection("lease").database.client))
        together.wait()
        if own.lease("feed", owner, ttl_s=60).acquire():
            granted.append(owner)

    threads = [threading.Thread(target=run, args=(f"thread {n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(granted) == 1
    assert clients == {id(connection.connection)}


def test_a_forked_child_opens_its_own_client_and_leaves_the_parents_alone(database: Database) -> None:
    probe = database.collection("probe")
    probe.insert_one({"_id": "parent"})

    def child() -> str:
        unopened = connections["default"].connection is None  # the ORM's too
        own = Database().collection("probe")
        own.insert_one({"_id": os.getpid()})
        return f"{unopened} {own.database.client is probe.database.client}"

    assert in_child(child) == "True False"
    assert probe.count_documents({}) == 2
    assert database.collection("probe").database.client is probe.database.client


def test_a_client_closed_by_another_thread_is_opened_again(database: Database) -> None:
    database.collection("probe").insert_one({"_id": 1})

    def close() -> None:
        Database().ping()
        connections["default"].close_pool()

    thread = threading.Thread(target=close)
    thread.start()
    thread.join(30)
    assert database.collection("probe").find_one() == {"_id": 1}
