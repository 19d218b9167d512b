"""The Kubernetes client against a control plane that nobody here wrote: the lab's tests of it, once more."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.kubernetes_peers import real_plane
from tests.lab.test_kubernetes_client import (
    here,
    kubernetes,
    test_a_field_of_somebody_else_is_refused_and_only_force_takes_it,
    test_a_kind_that_appears_later_is_found,
    test_a_list_is_whole_however_many_there_are,
    test_a_patch_of_an_old_version_is_looked_at_again,
    test_a_second_create_is_refused_and_a_second_delete_is_not,
    test_a_stranger_is_refused,
    test_an_object_is_applied_twice_and_read_back,
    test_an_unknown_field_is_refused,
    test_applications_are_absent_before_argocd_is_there,
    test_the_api_tells_its_version,
)

__all__ = [
    "here",
    "kubernetes",
    "test_a_field_of_somebody_else_is_refused_and_only_force_takes_it",
    "test_a_kind_that_appears_later_is_found",
    "test_a_list_is_whole_however_many_there_are",
    "test_a_patch_of_an_old_version_is_looked_at_again",
    "test_a_second_create_is_refused_and_a_second_delete_is_not",
    "test_a_stranger_is_refused",
    "test_an_object_is_applied_twice_and_read_back",
    "test_an_unknown_field_is_refused",
    "test_applications_are_absent_before_argocd_is_there",
    "test_the_api_tells_its_version",
]


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("plane")
    with real_plane(folder, "127.28.0.9", "--no-controllers"):
        yield folder / "kubeconfig"
