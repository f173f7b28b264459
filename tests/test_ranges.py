from hypothesis import given
from hypothesis import strategies as st

from infrastructure.ranges import Range, minus, united, within

point = st.integers(-20, 20)
ranges = st.lists(st.tuples(point, point), max_size=8)


def points(found: list[Range] | tuple[Range, ...]) -> set[int]:
    return {n for start, end in found for n in range(start, end)}


def is_canonical(found: tuple[Range, ...]) -> bool:
    edges = [edge for one in found for edge in one]
    return edges == sorted(set(edges))


@given(ranges)
def test_united_ranges_hold_the_same_moments_ascending_and_apart(given_: list[Range]) -> None:
    assert points(united(given_)) == points(given_)
    assert is_canonical(united(given_))


@given(ranges, ranges)
def test_minus_leaves_what_is_in_none_of_the_taken(given_: list[Range], taken: list[Range]) -> None:
    left = minus(given_, taken)
    assert points(left) == points(given_) - points(taken)
    assert is_canonical(left)


@given(ranges, point, point)
def test_within_cuts_to_a_range(given_: list[Range], start: int, end: int) -> None:
    cut = within(given_, start, end)
    assert points(cut) == points(given_) & set(range(start, end))
    assert is_canonical(cut)


def test_ranges_that_touch_become_one() -> None:
    assert united([(5, 7), (1, 3), (3, 5), (9, 9)]) == ((1, 7),)
