"""`manage.py retire`, the removal of symbols from the command line."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from marketdata.models import BackfillJob, BarSeries, Symbol
from tests.platform.conftest import COIN, SHARE


def retire(*arguments: str) -> list[str]:
    out = StringIO()
    call_command("retire", *arguments, stdout=out)
    return out.getvalue().splitlines()


def test_symbols_are_retired_and_what_they_have_is_said(furnished: str) -> None:
    said = retire(COIN.lower(), SHARE, "--yes", "--cancel-jobs")
    assert said[0].startswith(f"{COIN}: 1m 31 bars (") and said[0].endswith(
        " bytes); 1 open jobs, 1 pulls, 1 quotes, 0 findings"
    )
    assert said[1:] == [
        f"{SHARE}: no bars (0 bytes); 0 open jobs, 0 pulls, 0 quotes, 0 findings",
        "2 retired; 1 open jobs cancelled",
    ]
    assert list(Symbol.objects.values_list("active", flat=True)) == [False, False]
    assert BackfillJob.objects.get().state == "cancelled"


@pytest.mark.parametrize(("choice", "said", "left"), [("keep", "bars kept", 1), ("everything", "bars too", 0)])
def test_symbols_are_deleted_with_or_without_their_bars(furnished: str, choice: str, said: str, left: int) -> None:
    assert retire(COIN, "--delete", choice, "--yes")[-1] == f"1 deleted, {said}; 1 open jobs cancelled"
    assert (list(Symbol.objects.values_list("pk", flat=True)), BarSeries.objects.count()) == ([SHARE], left)


def test_nothing_is_done_where_nobody_can_be_asked_or_a_symbol_is_unknown(furnished: str) -> None:
    with pytest.raises(CommandError, match="nobody can be asked here"):
        retire(COIN)
    with pytest.raises(CommandError, match="Not on this platform: NO:ONE"):
        retire(COIN, "NO:ONE", "--yes")
    assert Symbol.objects.get(pk=COIN).active is True
