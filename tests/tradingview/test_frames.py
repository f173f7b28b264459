import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infrastructure.errors import Malformed
from infrastructure.tradingview import frames

any_text = st.text(st.characters(exclude_categories=()))  # lone surrogates too: JSON brings them


def test_two_frames_in_one_message_are_two_payloads() -> None:
    assert frames.decode('~m~4~m~~h~7~m~7~m~{"m":1}') == ["~h~7", '{"m":1}']


def test_nothing_is_no_payload() -> None:
    assert frames.decode("") == []
    assert frames.decode("~m~0~m~") == [""]


@pytest.mark.parametrize(
    ("payload", "length"),
    [("", 0), ("~h~10", 5), ("애플", 2), ("Größe", 5), ("📈", 2), ("a📈b", 4), ("~m~3~m~abc", 10)],
)
def test_length_counts_utf16_units(payload: str, length: int) -> None:
    assert frames.encode(payload) == f"~m~{length}~m~{payload}"


@given(st.lists(any_text | st.sampled_from(["~m~", "~m~3~m~", "~h~1", "{}", "📈~m~1~m~"]), max_size=8))
def test_what_is_encoded_is_decoded(payloads: list[str]) -> None:
    assert frames.decode("".join(map(frames.encode, payloads))) == payloads


@given(st.text("~mh0123456789é📈{", max_size=40) | any_text)
def test_rubbish_is_malformed_or_taken_apart_without_a_loss(text: str) -> None:
    try:
        payloads = frames.decode(text)
    except Malformed as error:
        assert error.sample in text
    else:
        assert "".join(f"~m~{len(p.encode('utf-16', 'surrogatepass')) // 2 - 1}~m~{p}" for p in payloads) == re.sub(
            r"~m~0+(\d+~m~)", r"~m~\1", text
        )


@pytest.mark.parametrize(
    "text",
    [
        "<html><title>Just a moment</title></html>",
        '{"m":"qsd"}',
        "~m~",
        "~m~5",
        "~m~~m~abc",
        "~m~x~m~abc",
        "~m~-3~m~abc",
        "~m~+3~m~abc",
        "~m~1_0~m~abcdefghij",
        "~m~٣~m~abc",
        "~m~4~m~abc",
        "~m~2~m~abc",
        "~m~3~m~abc\n",
        "~m~99999999999999999999~m~abc",
        "~m~1~m~📈",
    ],
)
def test_a_text_that_lies_is_malformed(text: str) -> None:
    with pytest.raises(Malformed) as caught:
        frames.decode(text)
    assert caught.value.sample


def test_a_lie_behind_good_frames_gives_a_sample_from_where_it_starts() -> None:
    with pytest.raises(Malformed) as caught:
        frames.decode("~m~2~m~{}~m~9~m~{}")
    assert caught.value.sample == "~m~9~m~{}"


def test_a_korean_description_is_read_by_units() -> None:
    payload = json.dumps({"local_description": "삼성전자"}, ensure_ascii=False)
    assert frames.decode(f"~m~{len(payload)}~m~{payload}~m~4~m~~h~1") == [payload, "~h~1"]
