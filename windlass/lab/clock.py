"""The lab's time: real time, `speed` times faster. Everything simulated sleeps here."""

import asyncio
import time
from datetime import UTC, datetime


class Clock:
    """Lab time starts at the real time of the first start and runs `speed` times as fast.

    Seconds in the lab's code are lab seconds; only this class knows what they are in real time.
    """

    def __init__(self, speed: float = 1.0, epoch: float | None = None) -> None:
        self.speed = speed
        self._real_start = time.time()
        self.epoch = self._real_start if epoch is None else epoch

    def time(self) -> float:
        """Seconds since 1970, in lab time."""
        return self.epoch + (time.time() - self._real_start) * self.speed

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.time(), UTC)

    def real(self, seconds: float) -> float:
        """How many real seconds `seconds` of lab time take."""
        return seconds / self.speed

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(self.real(seconds))
