"""How an action is declared and made: a class by name, built anew for each attempt from a step and its site.

The engine asks the questions (`windlass.engine.action.Action`); the classes in this package answer them. They take
specs and names, never clients from outside.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from tasks.connections import Connections
from windlass.engine.action import Action, Resume, Timing
from windlass.errors import BadInputError, PreflightError
from windlass.models.load import LoadedSite
from windlass.models.plan import Json, JsonObject, Step
from windlass.models.site import Node, Site
from windlass.waiting import Pace

Evidence = Callable[[str], JsonObject]


@dataclass(frozen=True)
class Context:
    """What an action is made from. `evidence` reads what an earlier step of the same operation observed."""

    loaded: LoadedSite
    step: Step
    connect: Connections
    evidence: Evidence


class SiteAction(ABC):
    """One effect on one target of a site; a gate inherits the effect that must never be called.

    `patience` names the field of `pace` that says how long the goal may take.
    """

    resume = Resume.REPEAT
    patience = "ready"

    def __init__(self, context: Context) -> None:
        self.loaded = context.loaded
        self.site: Site = context.loaded.site
        self.step = context.step
        self.evidence = context.evidence
        self.connect = context.connect
        self.agent = self.connect.agent

    @property
    def timing(self) -> Timing:
        pace = self.site.pace
        return Timing(
            effect=pace.call,
            goal=duration(self.site, self.patience),
            pace=Pace(first=pace.first, longest=pace.longest),
            begin=max(pace.call, duration(self.site, self.patience)),
        )

    @property
    def node(self) -> Node:
        return self.site.node(self.step.target)

    def text(self, name: str) -> str:
        """An input that is text.

        Raises:
            BadInputError: it is not; the plan was not made by this version.
        """
        value = self.step.inputs.get(name)
        if not isinstance(value, str):
            raise BadInputError(f"{self.step.key}: input {name} should be text, is {value!r}")
        return value

    def unchanged(self, name: str, now: Json) -> None:
        """Raise PreflightError when the site file now says something else than the plan that was approved.

        Raises:
            PreflightError: with what differs, where that can be told.
        """
        planned = self.step.inputs.get(name)
        if planned == now:
            return
        differs = "what it is made from"
        if isinstance(planned, dict) and isinstance(now, dict):
            keys = sorted(k for k in planned.keys() | now.keys() if planned.get(k) != now.get(k))
            differs = ", ".join(
                f"{key} is {now.get(key)!r}, was {planned.get(key)!r}" for key in keys
            )
        raise PreflightError(
            f"{self.loaded.path} changed after this plan was made: {self.step.target}: {differs}. "
            "Plan anew, or put it back"
        )

    @abstractmethod
    def goal(self) -> JsonObject:
        """Evidence that the goal holds; see `windlass.engine.action.Action.goal`."""

    def preconditions(self) -> None:
        """Nothing forbids it, unless the action says otherwise."""

    def effect(self) -> JsonObject | None:
        raise BadInputError(f"{self.step.key} is a gate and has no effect")

    def follow(self, handle: JsonObject) -> None:
        """The call itself ended the effect."""

    def trace(self, since: datetime) -> JsonObject | None:
        """A call whose answer is its effect leaves nothing running behind."""
        return None


def duration(site: Site, name: str) -> timedelta:
    """The field of the site's pace by this name."""
    value = getattr(site.pace, name)
    if not isinstance(value, timedelta):
        raise TypeError(f"pace.{name} is not a duration")
    return value


ACTIONS: dict[str, type[SiteAction]] = {}

ActionT = TypeVar("ActionT", bound=type[SiteAction])


def action(name: str) -> Callable[[ActionT], ActionT]:
    """Register a class as the action that plans call by `name`."""

    def register(cls: ActionT) -> ActionT:
        if name in ACTIONS:
            raise ValueError(f"two actions are called {name}")
        ACTIONS[name] = cls
        return cls

    return register


def make_action(context: Context) -> Action:
    """The action of a step.

    Raises:
        BadInputError: this version of Windlass has no action by that name.
    """
    cls = ACTIONS.get(context.step.action)
    if cls is None:
        raise BadInputError(f"{context.step.key}: no action is called {context.step.action}")
    return cls(context)
