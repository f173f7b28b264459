"""Keeps a step of the hub running, whatever fails in it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from infrastructure.errors import InfrastructureError

RETRY_S = 1.0
SAY_AGAIN_S = 60.0

logger = logging.getLogger(__name__)


async def supervised(step: Callable[[], Awaitable[None]], clock: Callable[[], float]) -> None:
    """Again and again until the step ends by itself; the same trouble is said once a minute."""
    said, said_at = "", float("-inf")
    while True:
        try:
            return await step()
        except InfrastructureError as error:
            if str(error) != said or clock() - said_at > SAY_AGAIN_S:
                said, said_at = str(error), clock()
                logger.warning("%s", error)
        except Exception:
            logger.exception("%s failed", step.__name__)
        await asyncio.sleep(RETRY_S)
