"""A plan as data: steps, edges, what is left alone, what blocks. Pure values; the engine runs it, reports print it."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
JsonObject = dict[str, Json]


class Risk(StrEnum):
    """What a step can cost. Gates are READ: they have no effect."""

    READ = "read"
    SAFE = "safe"
    DISRUPTIVE = "disruptive"
    DESTRUCTIVE = "destructive"


@dataclass(frozen=True)
class Forecast:
    """How long a step is expected to take. `source` says from what: a default, or this site's history."""

    expected: timedelta
    source: Literal["default", "history"] = "default"


@dataclass(frozen=True)
class Step:
    """One effect on one target, or a gate (no effect).

    `key` is unique in the plan: "<action>/<target>". `phase` groups steps for people. `limits` names the shared
    capacities it takes one of while it runs, such as "host:pve1" or "api:proxmox"; the plan says how much there is.
    `preconditions` are sentences for people; the action checks them again before the effect. `undone_by` is the key of
    the step that takes back what this one leaves behind, such as a cordon: until then it is said to remain.
    """

    key: str
    action: str
    target: str
    phase: str
    risk: Risk
    inputs: JsonObject = field(default_factory=dict[str, Json])
    waits_for: tuple[str, ...] = ()
    preconditions: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    forecast: Forecast = Forecast(timedelta(0))
    undone_by: str = ""

    @property
    def is_gate(self) -> bool:
        return self.risk is Risk.READ


@dataclass(frozen=True)
class LeftAlone:
    """Something the plan does not touch, and why."""

    target: str
    why: str


@dataclass(frozen=True)
class Block:
    """Something that forbids the plan: what, where, why and what to do about it."""

    what: str
    remedy: str


@dataclass(frozen=True)
class Plan:
    """A DAG of steps in a topological order, and what a person must know before saying yes."""

    site: str
    verb: str
    request: JsonObject
    steps: tuple[Step, ...]
    left_alone: tuple[LeftAlone, ...] = ()
    blocks: tuple[Block, ...] = ()
    warnings: tuple[str, ...] = ()
    limits: Mapping[str, int] = field(default_factory=dict[str, int])

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for step in self.steps:
            if step.key in seen:
                raise ValueError(f"step {step.key} is twice in the plan")
            if missing := set(step.waits_for) - seen:
                raise ValueError(
                    f"step {step.key} waits for {sorted(missing)}, not planned before it"
                )
            seen.add(step.key)
        if strangers := {step.undone_by for step in self.steps if step.undone_by} - seen:
            raise ValueError(f"the plan does not have {sorted(strangers)}, which should undo steps")

    @cached_property
    def hash(self) -> str:
        """SHA-256 over what will be done: not over forecasts, times or incidental observations."""
        body = {
            "site": self.site,
            "verb": self.verb,
            "request": self.request,
            "steps": [
                [
                    s.key,
                    s.action,
                    s.target,
                    s.risk,
                    s.inputs,
                    sorted(s.waits_for),
                    list(s.preconditions),
                ]
                for s in self.steps
            ],
        }
        canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def is_empty(self) -> bool:
        """Nothing would change: at most gates are left."""
        return all(step.is_gate for step in self.steps)

    @property
    def risk(self) -> Risk:
        return max((step.risk for step in self.steps), key=list(Risk).index, default=Risk.READ)

    def step(self, key: str) -> Step:
        return self._by_key[key]

    @cached_property
    def _by_key(self) -> dict[str, Step]:
        return {step.key: step for step in self.steps}

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    @cached_property
    def critical_path(self) -> timedelta:
        """The forecast makespan with unlimited parallelism."""
        ends: dict[str, timedelta] = {}
        for step in self.steps:
            start = max((ends[key] for key in step.waits_for), default=timedelta(0))
            ends[step.key] = start + step.forecast.expected
        return max(ends.values(), default=timedelta(0))

    def to_json(self) -> dict[str, Any]:
        """The whole plan, as the journal stores it and `from_json` reads it."""
        return {
            "site": self.site,
            "verb": self.verb,
            "request": self.request,
            "steps": [_step_to_json(step) for step in self.steps],
            "left_alone": [[one.target, one.why] for one in self.left_alone],
            "blocks": [[one.what, one.remedy] for one in self.blocks],
            "warnings": list(self.warnings),
            "limits": dict(self.limits),
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Plan":
        return cls(
            site=body["site"],
            verb=body["verb"],
            request=body["request"],
            steps=tuple(_step_from_json(step) for step in body["steps"]),
            left_alone=tuple(LeftAlone(*one) for one in body["left_alone"]),
            blocks=tuple(Block(*one) for one in body["blocks"]),
            warnings=tuple(body["warnings"]),
            limits=body["limits"],
        )


def _step_to_json(step: Step) -> dict[str, Any]:
    return {
        "key": step.key,
        "action": step.action,
        "target": step.target,
        "phase": step.phase,
        "risk": step.risk.value,
        "inputs": step.inputs,
        "waits_for": list(step.waits_for),
        "preconditions": list(step.preconditions),
        "limits": list(step.limits),
        "forecast": [step.forecast.expected.total_seconds(), step.forecast.source],
        "undone_by": step.undone_by,
    }


def _step_from_json(body: Mapping[str, Any]) -> Step:
    seconds, source = body["forecast"]
    return Step(
        key=body["key"],
        action=body["action"],
        target=body["target"],
        phase=body["phase"],
        risk=Risk(body["risk"]),
        inputs=body["inputs"],
        waits_for=tuple(body["waits_for"]),
        preconditions=tuple(body["preconditions"]),
        limits=tuple(body["limits"]),
        forecast=Forecast(timedelta(seconds=seconds), source),
        undone_by=body["undone_by"],
    )
