"""Questions that come at the same time are asked together."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from infrastructure.errors import Unavailable
from marketdata.live.together import Together

DEADLINE_S = 20


class Oracle:
    """Answers with ten times the number, once it may."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.begun, self.may = threading.Event(), threading.Event()

    def ask(self, numbers: Sequence[int]) -> list[int]:
        self.asked.append(list(numbers))
        self.begun.set()
        assert self.may.wait(DEADLINE_S)
        if -1 in numbers:
            raise Unavailable("The oracle is silent.")
        return [10 * number for number in numbers]


async def test_those_who_come_meanwhile_are_asked_for_in_one_question() -> None:
    oracle = Oracle()
    together = Together(oracle.ask)
    first = asyncio.ensure_future(together.answer(0))
    async with asyncio.timeout(DEADLINE_S):
        assert await asyncio.to_thread(oracle.begun.wait, DEADLINE_S)
        rest = [asyncio.ensure_future(together.answer(number)) for number in range(1, 100)]
        await asyncio.sleep(0)
        oracle.may.set()
        assert await asyncio.gather(first, *rest) == [10 * number for number in range(100)]
    assert oracle.asked == [[0], list(range(1, 100))]


async def test_one_who_leaves_takes_nothing_from_the_others() -> None:
    oracle = Oracle()
    together = Together(oracle.ask)
    async with asyncio.timeout(DEADLINE_S):
        leaving, staying = (asyncio.ensure_future(together.answer(number)) for number in (1, 2))
        assert await asyncio.to_thread(oracle.begun.wait, DEADLINE_S)
        leaving.cancel()
        oracle.may.set()
        assert await staying == 20
    assert leaving.cancelled()


async def test_a_failure_is_of_those_it_was_asked_for() -> None:
    oracle = Oracle()
    oracle.may.set()
    together = Together(oracle.ask)
    failed = await asyncio.gather(together.answer(-1), together.answer(1), return_exceptions=True)
    assert [type(one) for one in failed] == [Unavailable, Unavailable]
    assert await together.answer(2) == 20


@pytest.mark.parametrize("count", [1, 3])
async def test_answers_are_in_the_order_of_the_questions(count: int) -> None:
    oracle = Oracle()
    oracle.may.set()
    together = Together(oracle.ask)
    numbers = list(range(count, 0, -1))
    assert await asyncio.gather(*map(together.answer, numbers)) == [10 * number for number in numbers]
