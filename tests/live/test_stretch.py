"""The flush interval stretches under load and comes back."""

from marketdata.live.stretch import next_interval


def test_an_idle_process_flushes_at_the_configured_interval() -> None:
    assert next_interval(0.05, 0.05, busy_s=0.001, late_s=0.001) == 0.05


def test_overload_stretches_step_by_step_up_to_a_second() -> None:
    intervals = [0.05]
    for _ in range(12):
        intervals.append(next_interval(0.05, intervals[-1], busy_s=intervals[-1], late_s=0.0))
    assert [round(interval, 4) for interval in intervals[:4]] == [0.05, 0.075, 0.1125, 0.1688]
    assert intervals[-1] == 1.0


def test_waking_late_counts_as_overload_too() -> None:
    assert next_interval(0.05, 0.05, busy_s=0.0, late_s=0.04) > 0.05


def test_it_shrinks_slower_than_it_grew_and_not_below_the_configured_one() -> None:
    assert round(next_interval(0.05, 0.12, busy_s=0.0, late_s=0.0), 4) == 0.1
    assert next_interval(0.05, 0.055, busy_s=0.0, late_s=0.0) == 0.05


def test_between_busy_and_idle_it_stays() -> None:
    assert next_interval(0.05, 0.1, busy_s=0.06, late_s=0.0) == 0.1


def test_a_configured_interval_beyond_the_longest_is_kept() -> None:
    assert next_interval(3.0, 3.0, busy_s=3.0, late_s=0.0) == 3.0
