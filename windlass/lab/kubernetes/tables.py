"""Printer columns: what `kubectl get` shows of each kind."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from windlass.lab.kubernetes.cluster import Cluster
from windlass.lab.kubernetes.resources import Resource

Document = dict[str, Any]
Cells = Callable[[Document, float], list[Any]]


def of(resource: Resource, cluster: Cluster) -> tuple[list[Document], Cells]:
    """Column definitions of a kind, and what fills a row from an object and the time (seconds)."""
    return [_column("Name", format="name"), _column("Age")], _name_and_age


def _column(name: str, type: str = "string", *, format: str = "", priority: int = 0) -> Document:
    return {"name": name, "type": type, "format": format, "description": name, "priority": priority}


def _name_and_age(doc: Document, now: float) -> list[Any]:
    return [doc["metadata"]["name"], age(doc["metadata"].get("creationTimestamp"), now)]


def age(moment: str | None, now: float) -> str:
    if not moment:
        return "<unknown>"
    return duration(now - datetime.fromisoformat(moment).timestamp())


def duration(seconds: float) -> str:
    """As kubectl shortens it: 59s, 3m20s, 5h1m, 2d3h, 40d, 3y40d."""
    total = int(seconds)
    if total < -1:
        return "<invalid>"
    total = max(total, 0)
    if total < 120:
        return f"{total}s"
    minutes, left = divmod(total, 60)
    if minutes < 10:
        return f"{minutes}m{left}s" if left else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours, minutes = divmod(minutes, 60)
    if hours < 8:
        return f"{hours}h{minutes}m" if minutes else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    days, hours = divmod(hours, 24)
    if days < 8:
        return f"{days}d{hours}h" if hours else f"{days}d"
    if days < 365 * 2:
        return f"{days}d"
    years, days = divmod(days, 365)
    return f"{years}y{days}d" if years < 8 and days else f"{years}y"
