import pytest
import redis.exceptions
from django.core.cache import caches
from django_redis import get_redis_connection

from infrastructure.errors import Malformed, Rejected, Unavailable
from infrastructure.persistence import Cache, keys
from infrastructure.persistence.redis import DRIVER_ERRORS, INTEREST_BATCH, close_pools, translated
from tests.persistence.conftest import RedisServer
from tests.persistence.forking import in_child

UNAVAILABLE = {
    "BusyLoadingError", "ChildDeadlockedError", "ClusterDownError", "ConnectionError", "MasterDownError",
    "MaxConnectionsError", "ReadOnlyError", "TimeoutError", "TryAgainError",
}  # fmt: skip
MALFORMED = {"InvalidResponse"}
REJECTED = {
    "AskError", "AuthenticationError", "AuthenticationWrongNumberOfArgsError", "AuthorizationError",
    "ClusterCrossSlotError", "ClusterError", "CrossSlotTransactionError", "DataError", "ExecAbortError",
    "ExternalAuthProviderError", "IncorrectPolicyType", "InvalidPipelineStack", "LockError", "LockNotOwnedError",
    "ModuleError", "MovedError", "NoPermissionError", "NoScriptError", "NoSuchFieldsetError", "OutOfMemoryError",
    "PubSubError", "RedisClusterException", "RedisError", "ResponseError", "SlotNotCoveredError", "WatchError",
}  # fmt: skip


def test_each_exception_class_of_the_driver_has_its_kind_and_is_caught() -> None:
    classes = {cls for cls in vars(redis.exceptions).values() if isinstance(cls, type) and issubclass(cls, Exception)}
    kinds = {Unavailable: UNAVAILABLE, Malformed: MALFORMED, Rejected: REJECTED}
    assert {cls.__name__: type(translated(cls.__new__(cls))) for cls in classes} == {
        name: kind for kind, names in kinds.items() for name in names
    }
    assert [cls for cls in classes if not issubclass(cls, DRIVER_ERRORS)] == []


def test_json_values_come_back_until_they_expire_or_are_deleted(cache: Cache) -> None:
    value = {"symbol": "KRX:005930", "name": "삼성전자", "rows": [[1, 2.5, None]]}
    cache.ping()
    cache.set_json("kept", value, ttl_s=60)
    cache.set_json("deleted", value, ttl_s=60)
    cache.delete("deleted", "never there")
    cache.delete()
    assert [cache.get_json(key) for key in ("kept", "deleted", "never there")] == [value, None, None]
    assert 59_000 < cache._client.pttl("kept") <= 60_000


def test_a_value_that_is_not_json_is_malformed_with_its_start(cache: Cache) -> None:
    cache._client.set("key", b"<html>")
    with pytest.raises(Malformed, match="key") as caught:
        cache.get_json("key")
    assert caught.value.sample == "b'<html>'"


def test_quotes_are_kept_by_symbol_and_replaced_whole(cache: Cache) -> None:
    cache.put_quotes({"A:A": b"1", "KRX:삼성": b"2"})
    cache.put_quotes({"A:A": b"3"})
    cache.put_quotes({})
    assert cache.quotes() == {"A:A": b"3", "KRX:삼성": b"2"}
    assert cache.quotes(["KRX:삼성", "N:N"]) == {"KRX:삼성": b"2"}
    assert cache.quotes([]) == {}


def test_interest_lasts_as_long_as_it_was_last_asked_for(cache: Cache) -> None:
    cache.add_interest(["A:A", "A:A@1m"], ttl_s=60)
    cache.add_interest(["A:A"], ttl_s=-1)  # a shorter wish does not end a longer one
    cache.add_interest(["B:B"], ttl_s=-1)
    cache.add_interest([], ttl_s=60)
    assert cache.interest() == {"A:A", "A:A@1m"}
    assert cache._client.zcard(keys.INTEREST) == 2


def test_expired_interest_is_removed_by_those_who_add_too(cache: Cache) -> None:
    cache.add_interest(["old"], ttl_s=-1)
    cache.add_interest(["new"], ttl_s=60)
    assert cache._client.zrange(keys.INTEREST, 0, -1) == [b"new"]


def test_interest_in_more_items_than_one_batch_is_complete(cache: Cache) -> None:
    items = {f"S:{n}" for n in range(2 * INTEREST_BATCH + 1)}
    cache.add_interest(items, ttl_s=60)
    assert cache.interest() == items


def test_publishing_says_how_many_listened(cache: Cache) -> None:
    assert cache.publish("channel", b"nobody") == 0
    with cache._client.pubsub() as pubsub:
        pubsub.subscribe("channel")
        pubsub.get_message(timeout=10)
        assert cache.publish("channel", b"\x00payload") == 1
        assert pubsub.get_message(timeout=10)["data"] == b"\x00payload"


def test_a_killed_server_is_unavailable_and_works_again_when_it_is_back(
    cache: Cache, redis_server: RedisServer
) -> None:
    cache.set_json("key", 1, ttl_s=60)
    redis_server.kill()
    with pytest.raises(Unavailable, match="Redis does not answer"):
        cache.get_json("key")
    redis_server.start()
    assert cache.get_json("key") is None
    cache.set_json("key", 2, ttl_s=60)
    assert cache.get_json("key") == 2


def test_a_restart_between_two_commands_is_not_noticed(cache: Cache, redis_server: RedisServer) -> None:
    cache.ping()
    redis_server.kill()
    redis_server.start()
    cache.ping()


def test_an_emptied_server_is_filled_again(cache: Cache) -> None:
    cache.put_quotes({"A:A": b"1"})
    cache._client.flushall()
    assert (cache.quotes(), cache.interest()) == ({}, set())
    cache.put_quotes({"A:A": b"2"})
    assert cache.quotes() == {"A:A": b"2"}


def test_a_refused_password_is_rejected(redis_server: RedisServer) -> None:
    with pytest.raises(Rejected, match="password"):
        Cache(redis_server.url.replace("//", "//:wrong@")).ping()


def test_a_wrong_kind_of_key_is_rejected(cache: Cache) -> None:
    cache.set_json(keys.QUOTES, 1, ttl_s=60)
    with pytest.raises(Rejected, match="WRONGTYPE"):
        cache.quotes()


def test_a_forked_child_uses_connections_of_its_own(cache: Cache) -> None:
    mine = cache._client.client_id()
    theirs = in_child(lambda: str(cache._client.client_id()))
    assert int(theirs) > mine
    assert cache._client.client_id() == mine


def test_closed_pools_open_again(cache: Cache) -> None:
    mine = cache._client.client_id()
    close_pools()
    assert cache._client.client_id() != mine


def test_all_caches_of_a_process_share_one_pool(redis_server: RedisServer) -> None:
    pools = {id(Cache(redis_server.url)._client.connection_pool) for _ in range(3)}
    assert len(pools) == 1


def test_one_who_cannot_wait_has_a_pool_of_its_own_and_no_second_wait(redis_server: RedisServer) -> None:
    cache = Cache(redis_server.url)
    hurried = cache.hurried(0.2)
    assert hurried._client.connection_pool is not cache._client.connection_pool
    kwargs = hurried._client.connection_pool.connection_kwargs
    assert kwargs["socket_timeout"] == kwargs["socket_connect_timeout"] == 0.2
    tries: list[int] = []

    def ask() -> None:
        tries.append(1)
        raise redis.exceptions.TimeoutError

    with pytest.raises(redis.exceptions.TimeoutError):
        kwargs["retry"].call_with_retry(ask, lambda _: None)
    assert len(tries) == 1
    hurried.ping()
    with redis_server.paused(), pytest.raises(Unavailable, match="Timeout"):
        hurried.ping()
    hurried.ping()
    redis_server.kill()
    redis_server.start()
    hurried.ping()  # a dead connection costs no wait


def test_djangos_cache_shares_the_registry_of_pools() -> None:
    location = caches["default"]._server
    assert Cache(location)._client.connection_pool is get_redis_connection("default").connection_pool
