"""Putting a plan together: steps by action and target, edges by key, forecasts from what is known."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from windlass.models.plan import Forecast, JsonObject, Risk, Step

Forecasts = Callable[[str], Forecast]


@dataclass
class Draft:
    """A plan in the making. `add` returns the step's key, so that edges read as names of what was added before."""

    forecast: Forecasts
    steps: list[Step] = field(default_factory=list[Step])
    _keys: set[str] = field(default_factory=set[str])

    def add(  # noqa: PLR0913 - a step has that many facets, and each is named at the call
        self,
        action: str,
        target: str,
        *,
        phase: str,
        risk: Risk,
        after: Iterable[str] = (),
        inputs: JsonObject | None = None,
        limits: Iterable[str] = (),
        only_if: Iterable[str] = (),
        undone_by: str = "",
    ) -> str:
        """One step more. `after` may name keys that were never added: what is already so needs no waiting."""
        key = f"{action}/{target}"
        self.steps.append(
            Step(
                key=key,
                action=action,
                target=target,
                phase=phase,
                risk=risk,
                inputs=inputs or {},
                waits_for=tuple(dict.fromkeys(k for k in after if k in self._keys)),
                preconditions=tuple(only_if),
                limits=tuple(limits),
                forecast=self.forecast(action),
                undone_by=undone_by,
            )
        )
        self._keys.add(key)
        return key

    def gate(  # noqa: PLR0913 - as `add`
        self,
        action: str,
        target: str,
        *,
        phase: str,
        after: Iterable[str],
        inputs: JsonObject | None = None,
        limits: Iterable[str] = (),
    ) -> str:
        """A step without an effect: what waits for it goes on only when its goal holds."""
        return self.add(
            action, target, phase=phase, risk=Risk.READ, after=after, inputs=inputs, limits=limits
        )
