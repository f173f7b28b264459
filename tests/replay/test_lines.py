import pytest

from infrastructure.errors import Malformed
from infrastructure.replay.lines import Record, decode, encode

WALL = 1_767_625_247_345  # 2026-01-05 15:00:47.345 UTC
TEXTS = [
    "",
    "~m~4~m~~h~1",
    '~m~18~m~{"m":"x","p":[" "]}',
    "  blanks stay  ",
    '"a text that looks like JSON"',
    '~m~6~m~{\n"a"}',
    "\r\n",
    "\u2028 \x85 \x0b breaks lines elsewhere",
    "𝄞 counts two",
    "\x00",
]


def test_a_line_can_be_read_by_a_person() -> None:
    record = Record(12.345678, WALL, 3, "<", "~m~2~m~{}")
    assert encode(record) == "12.345678 2026-01-05T15:00:47.345Z 3 < ~m~2~m~{}\n"


@pytest.mark.parametrize("kind", ["+", "<", ">", "-", "!"])
@pytest.mark.parametrize("text", TEXTS)
def test_every_text_comes_back_to_the_letter(kind: str, text: str) -> None:
    record = Record(0.000001, WALL, 0, kind, text)  # type: ignore[arg-type]
    line = encode(record)
    assert line.count("\n") == 1
    assert decode(line.removesuffix("\n"), 0) == record


def test_a_text_alone_came_in_at_a_time_that_nobody_noted() -> None:
    assert decode("~m~2~m~{}", WALL) == Record(0.0, WALL, 0, "<", "~m~2~m~{}")


@pytest.mark.parametrize("line", ["# capture 1", "", "#"])
def test_a_remark_is_no_record(line: str) -> None:
    assert decode(line, 0) is None


HEAD = "12.345678 2026-01-05T15:00:47.345Z 3"


@pytest.mark.parametrize(
    "line",
    [
        "hello",
        " # no remark",
        "~m~9~m~{}",
        "~m~",
        f"{HEAD} ? x",
        f"{HEAD} <x",
        f"{HEAD}",
        f'{HEAD} < "no end',
        f"{HEAD} < " + '"' + "\\",
        "nan 2026-01-05T15:00:47.345Z 3 < x",
        "-1.000000 2026-01-05T15:00:47.345Z 3 < x",
        "1.0 2026-01-05T15:00:47.345Z 3 < x",
        "1e9 2026-01-05T15:00:47.345Z 3 < x",
        "9999999999.000000 2026-01-05T15:00:47.345Z 3 < x",
        "1.000000 2026-13-05T15:00:47.345Z 3 < x",
        "1.000000 2026-01-05T15:00:47.345 3 < x",
        "1.000000 2026-01-05T15:00:47.345Z x < x",
        "1.000000 2026-01-05T15:00:47.345Z 99999 < x",
        "١.000000 2026-01-05T15:00:47.345Z 3 < x",
    ],
)
def test_anything_else_is_malformed(line: str) -> None:
    with pytest.raises(Malformed):
        decode(line, 0)
