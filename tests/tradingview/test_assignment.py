from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from infrastructure.intervals import INTERVALS
from infrastructure.tradingview.assignment import MAX_CONNECTIONS, Item, assigned, part
from infrastructure.tradingview.base import Wanted
from tests.tradingview.markets import CRYPTO, NEW_YORK
from tests.tradingview.wishes import quotes

MINUTE, FIVE, HOUR = INTERVALS["1m"], INTERVALS["5m"], INTERVALS["1h"]


def sessions(places: dict[Item, int]) -> Counter[int]:
    """Chart sessions of each connection."""
    return Counter(number for item, number in places.items() if not isinstance(item, str))


def test_connections_fill_one_after_the_other() -> None:
    assert assigned(quotes("A", "B", "C", "D", "E"), {}, 2) == {"A": 0, "B": 0, "C": 1, "D": 1, "E": 2}


def test_quotes_and_bars_of_a_symbol_share_a_connection_and_weigh_as_their_chart_sessions() -> None:
    hours = {"A": CRYPTO, "C": NEW_YORK}
    wanted = Wanted(frozenset("AB"), frozenset({("A", MINUTE), ("A", HOUR), ("C", MINUTE)}), hours)
    places = assigned(wanted, {}, 2)
    assert places == {"A": 0, ("A", MINUTE): 0, ("A", HOUR): 0, "B": 1, ("C", MINUTE): 1}
    first = Wanted(frozenset("A"), frozenset({("A", MINUTE), ("A", HOUR)}), {"A": CRYPTO})
    assert part(wanted, places, 0) == first
    assert part(wanted, places, 1) == Wanted(frozenset("B"), frozenset({("C", MINUTE)}), {"C": NEW_YORK})


def test_what_has_a_place_keeps_it() -> None:
    before: dict[Item, int] = {"C": 0, "D": 1, "Z": 1}
    assert assigned(quotes("A", "B", "C", "D"), before, 2) == {"C": 0, "D": 1, "A": 0, "B": 1}


def test_bars_follow_their_quotes_where_there_is_room() -> None:
    pairs = frozenset({("B", MINUTE), ("B", HOUR)})
    before: dict[Item, int] = {"A": 0, "B": 3}
    assert assigned(Wanted(frozenset("AB"), pairs), before, 2) == {**before, ("B", MINUTE): 3, ("B", HOUR): 3}
    elsewhere = {**before, ("B", MINUTE): 0, ("B", HOUR): 0}
    full: dict[Item, int] = {("C", MINUTE): 3}
    wanted = Wanted(frozenset("AB"), pairs | {("C", MINUTE)})
    assert assigned(wanted, before | full, 2) == {**elsewhere, ("B", MINUTE): 1, ("B", HOUR): 1} | full


def test_a_symbol_too_large_for_any_connection_is_divided_and_the_rest_left_out() -> None:
    wanted = Wanted(frozenset("A"), frozenset(("A", interval) for interval in INTERVALS.values()))
    places = assigned(wanted, {}, 2)
    assert places["A"] == 0
    assert sessions(places) == dict.fromkeys(range(MAX_CONNECTIONS), 2)
    assert len(wanted.bars - places.keys()) == len(INTERVALS) - 12


def test_what_was_left_out_has_a_place_when_there_is_room() -> None:
    symbols = "ABCDEFG"
    first = Wanted(bars=frozenset((symbol, MINUTE) for symbol in symbols))
    places = assigned(first, {}, 1)
    assert first.bars - places.keys() == {("G", MINUTE)}
    second = Wanted(bars=first.bars - {("C", MINUTE)})
    assert assigned(second, places, 1) == {pair: places[pair] for pair in second.bars & places.keys()} | {
        ("G", MINUTE): 2
    }


def test_quotes_beyond_all_capacity_are_spread_evenly() -> None:
    names = [f"S{n:02}" for n in range(60)]
    wanted = Wanted(frozenset(names), frozenset((name, MINUTE) for name in names[:12]))
    places = assigned(wanted, {}, 2)
    assert sessions(places) == dict.fromkeys(range(MAX_CONNECTIONS), 2)
    assert Counter(places[name] for name in names) == dict.fromkeys(range(MAX_CONNECTIONS), 10)


def test_nothing_wanted_has_no_place() -> None:
    assert assigned(Wanted(), {"A": 3}, 200) == {}


names = st.sampled_from([f"S{n}" for n in range(40)])
wishes = st.builds(
    Wanted, st.frozensets(names), st.frozensets(st.tuples(names, st.sampled_from([MINUTE, FIVE, HOUR])), max_size=80)
)


@given(st.lists(wishes, min_size=2, max_size=4), st.integers(1, 15))
def test_whatever_is_wanted_is_carried_once_or_left_out_for_want_of_room(wished: list[Wanted], capacity: int) -> None:
    places: dict[Item, int] = {}
    for wanted in wished:
        before, places = places, assigned(wanted, places, capacity)
        left_out = wanted.bars - places.keys()
        used = sessions(places)
        assert max(used.values(), default=0) <= capacity
        assert places.keys() == wanted.quotes | (wanted.bars - left_out)
        assert not left_out or used == dict.fromkeys(range(MAX_CONNECTIONS), capacity)
        assert all(places[item] == before[item] for item in places.keys() & before.keys())
        parts = [part(wanted, places, number) for number in range(MAX_CONNECTIONS)]
        assert sum((Counter(p.quotes) for p in parts), Counter()) == Counter(wanted.quotes)
        assert sum((Counter(p.bars) for p in parts), Counter()) == Counter(wanted.bars - left_out)
