from infrastructure.bars import Bar, Bars


def test_bars_between_includes_the_start_and_excludes_the_end() -> None:
    bars = Bars.from_rows([(t, 1.0, 2.0, 0.5, 1.5, 10.0) for t in (0, 60_000, 120_000)])
    assert bars.between(60_000, 120_000).time_ms.tolist() == [60_000]
    assert list(bars[:1]) == [Bar(0, 1.0, 2.0, 0.5, 1.5, 10.0)]


def test_bars_with_unknown_volumes_are_the_same() -> None:
    bars = Bars.from_rows([(0, 1.0, 2.0, 0.5, 1.5, float("nan"))])
    assert bars.same_as(Bars.concat([bars, Bars.empty()]))
    assert not bars.same_as(Bars.from_rows([(0, 1.0, 2.0, 0.5, 1.5, 0.0)]))
