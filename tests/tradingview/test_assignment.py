from hypothesis import given
from hypothesis import strategies as st

from infrastructure.intervals import INTERVALS
from infrastructure.tradingview.assignment import MAX_CONNECTIONS, assigned, part
from infrastructure.tradingview.base import Wanted

MINUTE, HOUR = INTERVALS["1m"], INTERVALS["1h"]


def quotes(*symbols: str) -> Wanted:
    return Wanted(frozenset(symbols))


def test_connections_fill_one_after_the_other() -> None:
    assert assigned(quotes("A", "B", "C", "D", "E"), {}, 2) == {"A": 0, "B": 0, "C": 1, "D": 1, "E": 2}


def test_quotes_and_bars_of_a_symbol_share_a_connection_and_weigh_as_their_chart_sessions() -> None:
    wanted = Wanted(frozenset("AB"), frozenset({("A", MINUTE), ("A", HOUR), ("C", MINUTE)}))
    assert assigned(wanted, {}, 2) == {"A": 0, "B": 1, "C": 1}
    assert part(wanted, {"A": 0, "B": 1, "C": 1}, 0) == Wanted(frozenset("A"), frozenset({("A", MINUTE), ("A", HOUR)}))
    assert part(wanted, {"A": 0, "B": 1, "C": 1}, 1) == Wanted(frozenset("B"), frozenset({("C", MINUTE)}))


def test_what_has_a_place_keeps_it() -> None:
    before = {"C": 0, "D": 1, "Z": 1}
    assert assigned(quotes("A", "B", "C", "D"), before, 2) == {"C": 0, "D": 1, "A": 0, "B": 1}


def test_a_symbol_that_no_longer_fits_moves() -> None:
    wanted = Wanted(frozenset("AB"), frozenset({("B", MINUTE), ("B", HOUR)}))
    assert assigned(wanted, {"A": 0, "B": 0}, 2) == {"A": 0, "B": 1}


def test_nothing_wanted_has_no_place() -> None:
    assert assigned(Wanted(), {"A": 3}, 200) == {}


wishes = st.builds(
    Wanted,
    st.frozensets(st.sampled_from([f"S{n}" for n in range(40)])),
    st.frozensets(st.tuples(st.sampled_from([f"S{n}" for n in range(40)]), st.sampled_from([MINUTE, HOUR]))),
)


@given(wishes, wishes, st.integers(1, 60))
def test_every_wish_is_carried_once_by_few_connections(first: Wanted, second: Wanted, capacity: int) -> None:
    places = assigned(second, assigned(first, {}, capacity), capacity)
    parts = [part(second, places, number) for number in range(MAX_CONNECTIONS)]
    assert frozenset().union(*(p.quotes for p in parts)) == second.quotes
    assert frozenset().union(*(p.bars for p in parts)) == second.bars
    assert sum(len(p.quotes) for p in parts) == len(second.quotes)
    assert sum(len(p.bars) for p in parts) == len(second.bars)
    weights = [sum(max(1, sum(s == x for s, _ in p.bars)) for x in p.quotes | {s for s, _ in p.bars}) for p in parts]
    assert max(weights) <= max(capacity, -(-sum(weights) // MAX_CONNECTIONS) + 1, 2)
