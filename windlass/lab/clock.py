"""The lab's time: the machine's own clock, on which everything simulated takes `speed` times less long.

What goes over the wire is a time that clients can compare with their own; what takes time takes lab seconds.
"""

import asyncio
import time
from datetime import UTC, datetime


class Clock:
    """Seconds in the lab's code are lab seconds; only this class knows what they are in real time."""

    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed

    def time(self) -> float:
        """Seconds since 1970, as the machine has it."""
        return time.time()

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.time(), UTC)

    def since(self, then: float) -> float:
        """Lab seconds since `then` (seconds since 1970): a minute of lab time passes in 60 / speed seconds."""
        return (self.time() - then) * self.speed

    def real(self, seconds: float) -> float:
        """How many real seconds `seconds` of lab time take."""
        return seconds / self.speed

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(self.real(seconds))
