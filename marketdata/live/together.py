"""Questions to the database that come at the same time are asked together: a thousand browsers that come back at once
would else wait for a thousand round trips, one after the other. Used by the consumer."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class Together(Generic[Question, Answer]):
    """`ask` blocks and runs in a thread, once at a time, for all that came meanwhile; its answers are in their order.

    Bound: one question for each open connection. What `ask` raises is raised to each of those it was asked for.
    """

    def __init__(self, ask: Callable[[Sequence[Question]], Sequence[Answer]]) -> None:
        self._ask = ask
        self._waiting: list[Question] = []
        self._next: asyncio.Task[Sequence[Answer]] | None = None
        self._turn = asyncio.Lock()

    async def answer(self, question: Question) -> Answer:
        if self._next is None:
            self._next = asyncio.ensure_future(self._ask_all())
        self._waiting.append(question)
        number = len(self._waiting) - 1
        answers = await asyncio.shield(self._next)  # one who leaves does not take it from the others
        return answers[number]

    async def _ask_all(self) -> Sequence[Answer]:
        async with self._turn:
            questions, self._waiting, self._next = self._waiting, [], None
            return await asyncio.to_thread(self._ask, questions)
