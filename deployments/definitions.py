"""prefect.yaml as a strict model: Prefect ignores a key it does not know, and a typo in a schedule is silence."""

from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from windlass.errors import BadInputError


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ScheduleEntry(_Strict):
    """One schedule; `slug` is its identity, so that a change replaces it and a removal is noticed."""

    slug: str
    cron: str | None = None
    rrule: str | None = None
    timezone: str
    active: bool = True
    parameters: dict[str, JsonValue] = {}

    @model_validator(mode="after")
    def _a_schedule_is_cron_or_rrule(self) -> Self:
        if (self.cron is None) == (self.rrule is None):
            raise ValueError(f"schedule {self.slug}: give cron or rrule, one of them")
        return self


class ConcurrencyEntry(_Strict):
    limit: int = Field(ge=1)
    collision_strategy: Literal["ENQUEUE", "CANCEL_NEW"] = "ENQUEUE"


class DeploymentEntry(_Strict):
    """One deployment. `entrypoint` is a dotted path: module, then the flow's name."""

    name: str
    entrypoint: str = Field(pattern=r"^flows\.[a-z_]+\.[a-z_]+$")
    description: str
    tags: tuple[str, ...] = ()
    parameters: dict[str, JsonValue] = {}
    schedules: tuple[ScheduleEntry, ...] = ()
    concurrency_limit: ConcurrencyEntry | None = None


class Definitions(_Strict):
    name: str
    deployments: tuple[DeploymentEntry, ...] = Field(min_length=1)


def read_definitions(path: Path) -> Definitions:
    """What prefect.yaml says.

    Raises:
        BadInputError: it is missing, is no YAML, or has a key or value that means nothing.
    """
    try:
        return Definitions.model_validate(yaml.safe_load(path.read_text()))
    except (OSError, yaml.YAMLError) as error:
        raise BadInputError(f"{path} cannot be read: {error}") from error
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise BadInputError(f"{path}: {said}") from error
