"""Faults by name. A server declares what it can get wrong; `windlass lab fault set` switches it on.

A fault is set with arguments that narrow it (`vmid=101`, `node=cp-1`, `method=POST`) and a count of how often it
fires. A name that no server declared is refused: a typo must not be a test that injects nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from windlass.lab.store import Store


@dataclass(frozen=True)
class Fault:
    """One fault that is switched on. `left` is how often it still fires; None means until cleared."""

    name: str
    args: dict[str, Any] = field(default_factory=dict[str, Any])
    left: int | None = None
    fired: int = 0


class UnknownFaultError(LookupError):
    """Nobody in the lab can do this."""


class Faults:
    """The switchboard all servers of a lab ask. Durable: a lab that restarts is as broken as before."""

    def __init__(self, store: Store) -> None:
        self._on = store.section("faults")
        self._known: dict[str, str] = {}

    def declare(self, name: str, does: str) -> None:
        """A server says at start what it can get wrong. `does` is one line for `fault list`."""
        self._known[name] = does

    def known(self) -> dict[str, str]:
        return dict(self._known)

    def set(self, name: str, /, *, times: int | None = None, **args: Any) -> None:
        """Switch a fault on; again under the same name replaces it."""
        self._check(name)
        self._on[name] = {"args": args, "left": times, "fired": 0}

    def clear(self, names: Iterable[str] = ()) -> None:
        """Switch these faults off, or all of them."""
        chosen = list(names)
        for name in chosen:
            self._check(name)
        for name in chosen or list(self._on):
            self._on.pop(name, None)

    def _check(self, name: str) -> None:
        if name not in self._known:
            raise UnknownFaultError(
                f"no fault is called {name!r}; known: {', '.join(sorted(self._known))}"
            )

    def active(self) -> list[Fault]:
        return [
            Fault(name, doc["args"], doc["left"], doc["fired"]) for name, doc in self._on.items()
        ]

    def fires(self, name: str, /, **about: Any) -> Fault | None:
        """The fault, if it is on and each of its arguments that `about` names has that value.

        Counts: a fault set with `times=2` answers twice. Call it at the point where it does its harm. Arguments that
        `about` does not name are for the server to read from the result (`delay_s`, `status`, `reason`).
        """
        doc = self._on.get(name)
        if doc is None or doc["left"] == 0:
            return None
        if any(str(doc["args"].get(key, value)) != str(value) for key, value in about.items()):
            return None
        left = doc["left"] if doc["left"] is None else doc["left"] - 1
        self._on[name] = {**doc, "left": left, "fired": doc["fired"] + 1}
        return Fault(name, doc["args"], left, doc["fired"] + 1)
