import pytest
from django.conf import LazySettings

from infrastructure.errors import Unavailable
from infrastructure.persistence import Database
from infrastructure.simulator import SimulatorServer
from marketdata import tasks
from marketdata.models import Symbol
from marketdata.providers import get_provider
from marketdata.services import upstream
from marketdata.services.upstream import Gate, State, UpstreamOff


def test_traffic_is_allowed_until_somebody_switches_it_off(empty: None) -> None:
    upstream.check()
    upstream.turn(False, "ann", "too many requests")
    with pytest.raises(UpstreamOff) as off:
        upstream.check()
    assert str(off.value) == "Upstream traffic is off: ann switched it off (too many requests)."
    upstream.turn(True, "ann")
    upstream.check()
    (switch,) = Database().collection("upstream_switch").find()
    assert (switch["_id"], switch["on"], switch["reason"], switch["changed_by"]) == ("upstream", True, "", "ann")


def test_the_setting_outranks_the_admin(empty: None, settings: LazySettings) -> None:
    settings.UPSTREAM = False
    with pytest.raises(UpstreamOff, match="UPSTREAM=off in the environment"):
        upstream.check()


class Switch:
    """A store whose answer and clock a test sets."""

    def __init__(self) -> None:
        self.now = 0.0
        self.answer: State | None = State(True)
        self.asked = 0
        self.gate = Gate(self.read, lambda: self.now)

    def read(self) -> State:
        self.asked += 1
        if self.answer is None:
            raise Unavailable("MongoDB does not answer.")
        return self.answer

    def allows(self) -> bool:
        try:
            self.gate.check()
        except UpstreamOff:
            return False
        return True


def test_a_process_follows_the_switch_within_a_second_and_asks_once_a_second() -> None:
    switch = Switch()
    assert all(switch.allows() for _ in range(100))
    assert switch.asked == 1
    switch.answer = State(False, "Off.")
    switch.now = 1.0
    assert (switch.allows(), switch.asked) == (False, 2)


@pytest.mark.parametrize("answer", [State(True), State(False, "Off.")])
def test_while_the_store_is_away_the_last_answer_counts_and_it_is_asked_rarely(answer: State) -> None:
    switch = Switch()
    switch.answer = answer
    switch.allows()
    switch.answer = None
    for now in (1.0, 2.0, 5.9):
        switch.now = now
        assert switch.allows() is answer.on
    assert switch.asked == 2


def test_nothing_is_sent_while_nobody_ever_could_say() -> None:
    switch = Switch()
    switch.answer = None
    with pytest.raises(Unavailable, match="the upstream switch cannot be read"):
        switch.allows()


def test_the_configured_provider_sends_nothing_while_it_is_off(source: SimulatorServer, empty: None) -> None:
    upstream.turn(False, "ann")
    with get_provider() as provider:
        for call in (
            lambda: provider.search("apple"),
            lambda: provider.quotes(["NASDAQ:AAPL"]),
            lambda: provider.resolve("NASDAQ:AAPL"),
        ):
            with pytest.raises(UpstreamOff):
                call()
    assert source.connections == 0


def test_a_scheduled_task_only_says_that_it_is_off(source: SimulatorServer, empty: None) -> None:
    Symbol.objects.create(key="NASDAQ:AAPL", collect_intervals=["1m"])
    upstream.turn(False, "ann")
    said = "Upstream traffic is off: ann switched it off."
    assert [tasks.pull_bars("1m"), tasks.refresh_quotes(), tasks.refresh_symbols()] == [said] * 3
