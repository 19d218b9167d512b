"""Lists and watches: what they select, where they go on, how they end."""

import threading

from tests.conformance.kubernetes.makers import config_map
from tests.conformance.kubernetes_peers import Plane


def test_labels_select(plane: Plane, maps: str):
    for name, tier in (("a", "front"), ("b", "back"), ("c", "front")):
        plane.post(maps, {"metadata": {"name": name, "labels": {"tier": tier}}}).ok()

    def names(selector: str) -> list[str]:
        listed = plane.get(maps, labelSelector=selector).ok()["items"]
        return [one["metadata"]["name"] for one in listed if one["metadata"]["name"] in "abc"]

    assert names("tier=front") == ["a", "c"]
    assert names("tier!=front") == ["b"]
    assert names("tier in (front,back),tier notin (back)") == ["a", "c"]
    assert names("!tier") == []


def test_fields_select(plane: Plane, maps: str):
    for name in "ab":
        plane.post(maps, config_map(name)).ok()

    listed = plane.get(maps, fieldSelector="metadata.name=b").ok()["items"]

    assert [one["metadata"]["name"] for one in listed] == ["b"]


def test_lists_come_in_pages(plane: Plane, maps: str):
    for name in "abc":
        plane.post(maps, {"metadata": {"name": name, "labels": {"mine": "yes"}}}).ok()

    first = plane.get(maps, limit=2, labelSelector="mine").ok()
    rest = plane.get(
        maps, limit=2, labelSelector="mine", **{"continue": first["metadata"]["continue"]}
    ).ok()

    assert [one["metadata"]["name"] for one in first["items"]] == ["a", "b"]
    assert [one["metadata"]["name"] for one in rest["items"]] == ["c"]
    assert "continue" not in rest["metadata"]


def test_a_list_is_not_newer_than_the_world(plane: Plane, maps: str):
    answer = plane.get(maps, resourceVersion="99999999", resourceVersionMatch="NotOlderThan")

    assert (answer.code, answer.doc["reason"]) == (504, "Timeout")
    assert answer.doc["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


def test_a_watch_goes_on_where_a_list_ended(plane: Plane, maps: str):
    revision = plane.get(maps).ok()["metadata"]["resourceVersion"]
    plane.post(maps, config_map("watched", x="1")).ok()
    plane.merge(f"{maps}/watched", {"data": {"x": "2"}}).ok()
    plane.delete(f"{maps}/watched").ok()

    events = plane.events(maps, resourceVersion=revision, fieldSelector="metadata.name=watched")

    assert [event["type"] for event in events] == ["ADDED", "MODIFIED", "DELETED"]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(set(versions))


def test_leaving_a_selector_is_a_deletion(plane: Plane, maps: str):
    plane.post(maps, {"metadata": {"name": "a", "labels": {"in": "yes"}}}).ok()
    revision = plane.get(maps).ok()["metadata"]["resourceVersion"]
    plane.merge(f"{maps}/a", {"metadata": {"labels": {"in": "no"}}}).ok()
    plane.merge(f"{maps}/a", {"metadata": {"labels": {"in": "yes"}}}).ok()

    events = plane.events(maps, resourceVersion=revision, labelSelector="in=yes")

    assert [event["type"] for event in events] == ["DELETED", "ADDED"]


def test_initial_events_end_with_a_bookmark(plane: Plane, maps: str):
    plane.post(maps, config_map("a")).ok()

    events = plane.events(
        maps, sendInitialEvents="true", resourceVersionMatch="NotOlderThan",
        allowWatchBookmarks="true", fieldSelector="metadata.name=a",
    )  # fmt: skip

    assert [event["type"] for event in events][:2] == ["ADDED", "BOOKMARK"]
    annotations = events[1]["object"]["metadata"]["annotations"]
    assert annotations == {"k8s.io/initial-events-end": "true"}


def test_initial_events_need_a_match(plane: Plane, maps: str):
    answer = plane.get(maps, watch="1", sendInitialEvents="true")

    assert answer.doc["message"] == (
        'ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires '
        "setting resourceVersionMatch to NotOlderThan"
    )


def test_a_live_watch_hears_at_once(plane: Plane, maps: str):
    revision = plane.get(maps).ok()["metadata"]["resourceVersion"]
    writer = threading.Timer(0.5, lambda: plane.post(maps, config_map("late")))
    writer.start()

    events = plane.events(maps, resourceVersion=revision, fieldSelector="metadata.name=late")

    writer.join()
    assert [event["type"] for event in events] == ["ADDED"]
