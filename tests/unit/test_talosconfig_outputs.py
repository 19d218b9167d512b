"""Administrators' files that lie on the disk: whose they are, and until when they are good."""

from datetime import timedelta
from functools import cache

import pytest

from tests.unit.talosconfig_examples import NOW, bundle, counting, mint
from windlass.errors import RefusedError
from windlass.talosconfig.kubeconfig import admin_kubeconfig
from windlass.talosconfig.outputs import kubeconfig_ends, talosconfig_ends
from windlass.talosconfig.secrets import SecretsBundle
from windlass.talosconfig.talosconfig import admin_talosconfig

YEAR = timedelta(days=365)


@cache
def stranger() -> SecretsBundle:
    return SecretsBundle.generate(counting(b"stranger"), NOW)


def kubeconfig(secrets: SecretsBundle) -> str:
    return admin_kubeconfig(
        "harbour", secrets, server="https://192.0.2.5:6443", tls_server_name=None, mint=mint()
    )


def talosconfig(secrets: SecretsBundle) -> str:
    return admin_talosconfig(
        "harbour", secrets, endpoints=["192.0.2.10"], nodes=["192.0.2.10"], mint=mint()
    )


def test_our_own_files_say_when_they_end():
    assert kubeconfig_ends(kubeconfig(bundle()), bundle()) == NOW + YEAR
    assert talosconfig_ends(talosconfig(bundle()), bundle()) == NOW + YEAR


def test_another_clusters_files_are_refused():
    for text, ends in (
        (kubeconfig(stranger()), kubeconfig_ends),
        (talosconfig(stranger()), talosconfig_ends),
    ):
        with pytest.raises(RefusedError, match="another cluster's"):
            ends(text, bundle())


@pytest.mark.parametrize(
    "text",
    ["", "[]", "a: [", "contexts: {}", "clusters: []", "clusters: [{cluster: {}}]\nusers: []"],
)
def test_what_is_no_such_file_is_refused(text: str):
    for ends in (kubeconfig_ends, talosconfig_ends):
        with pytest.raises(RefusedError):
            ends(text, bundle())


def test_a_broken_certificate_is_refused():
    text = kubeconfig(bundle()).replace(
        "certificate-authority-data: ", "certificate-authority-data: x"
    )

    with pytest.raises(RefusedError, match="broken"):
        kubeconfig_ends(text, bundle())
