"""Certificates and the secrets bundle: what Talos and Kubernetes will read in them."""

import base64
from datetime import timedelta

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from tests.unit.talosconfig_examples import NOW, bundle, counting, mint
from windlass.errors import BadInputError
from windlass.talosconfig.kubeconfig import admin_kubeconfig
from windlass.talosconfig.pki import (
    Algorithm,
    Leaf,
    client_certificate,
    issue,
    load_key,
    make_authority,
    relabelled,
)
from windlass.talosconfig.secrets import SecretsBundle
from windlass.talosconfig.talosconfig import admin_talosconfig


@pytest.mark.parametrize(
    ("name", "subject", "public"),
    [
        ("os", "O=talos", Ed25519PublicKey),
        ("etcd", "O=etcd", ec.EllipticCurvePublicKey),
        ("kubernetes", "O=kubernetes", ec.EllipticCurvePublicKey),
        ("aggregator", "", ec.EllipticCurvePublicKey),
    ],
)
def test_each_authority_has_its_own_subject_and_algorithm_for_ten_years(
    name: str, subject: str, public: type
):
    certificate = getattr(bundle(), name).certificate

    assert certificate.subject.rfc4514_string() == subject
    assert isinstance(certificate.public_key(), public)
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc == timedelta(
        hours=87600
    )
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value.ca


def test_the_service_account_key_is_rsa_4096_in_pkcs1():
    pem = bundle().service_account

    key = load_pem_private_key(pem.encode(), None)

    assert pem.startswith("-----BEGIN RSA PRIVATE KEY-----")
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.key_size == 4096


def test_a_talos_key_has_the_label_that_openssl_refuses_until_it_is_relabelled():
    key = bundle().os.key

    assert key.startswith("-----BEGIN ED25519 PRIVATE KEY-----")
    assert load_pem_private_key(relabelled(key).encode(), None) is not None
    with pytest.raises(ValueError, match=r"."):
        load_pem_private_key(key.encode(), None)


def test_the_client_certificate_has_one_purpose_since_talos_refuses_two():
    pair = client_certificate(
        bundle().os, organization=("os:reader", "os:admin"), common_name=None, mint=mint()
    )

    purposes = pair.certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert [name.value for name in pair.certificate.subject] == ["os:admin", "os:reader"]
    pair.certificate.verify_directly_issued_by(bundle().os.certificate)


def test_a_server_certificate_is_verified_by_its_name():
    leaf = Leaf(lifetime=timedelta(days=1), names=("api.example.org", "192.0.2.5"), server=True)
    trusted = PolicyBuilder().store(Store([bundle().kubernetes.certificate])).time(NOW)

    pair = issue(bundle().kubernetes, leaf, mint())

    verifier = trusted.build_server_verifier(x509.DNSName("api.example.org"))
    assert verifier.verify(pair.certificate, [])[-1] == bundle().kubernetes.certificate
    with pytest.raises(VerificationError):
        trusted.build_server_verifier(x509.DNSName("other.example.org")).verify(
            pair.certificate, []
        )


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_the_same_entropy_and_time_make_the_same_certificate(algorithm: Algorithm):
    first, second, other = (
        make_authority(algorithm, "talos", type(mint())(counting(seed), NOW))
        for seed in (b"a", b"a", b"b")
    )

    assert first == second
    assert first.key != other.key


def test_a_bundle_survives_its_own_yaml():
    assert SecretsBundle.from_yaml(bundle().to_yaml()) == bundle()


def test_the_bundle_has_the_keys_that_talosctl_reads():
    content = yaml.safe_load(bundle().to_yaml())

    assert set(content) == {"cluster", "secrets", "trustdinfo", "certs"}
    assert set(content["certs"]) == {"etcd", "k8s", "k8saggregator", "k8sserviceaccount", "os"}
    assert len(base64.urlsafe_b64decode(content["cluster"]["id"])) == 32
    assert len(base64.b64decode(content["secrets"]["secretboxencryptionsecret"])) == 32


def test_no_secret_is_in_what_a_bundle_prints():
    printed = repr(bundle()) + repr(bundle().os) + str(bundle())

    assert bundle().bootstrap_token not in printed
    assert "PRIVATE KEY" not in printed


@pytest.mark.parametrize(
    "key",
    ["cluster.id", "secrets.bootstraptoken", "trustdinfo.token", "certs.os.key", "certs.etcd.crt"],
)
def test_a_bundle_without_a_part_names_it(key: str):
    content = yaml.safe_load(bundle().to_yaml())
    *path, last = key.split(".")
    part = content
    for name in path:
        part = part[name]
    del part[last]

    with pytest.raises(BadInputError, match=key):
        SecretsBundle.from_yaml(yaml.safe_dump(content))


def test_a_bundle_with_a_broken_key_is_refused_without_showing_it():
    content = yaml.safe_load(bundle().to_yaml())
    content["certs"]["os"]["key"] = "c2VjcmV0LW1hdGVyaWFs"

    with pytest.raises(BadInputError, match=r"certs\.os\.key") as refused:
        SecretsBundle.from_yaml(yaml.safe_dump(content))

    assert "c2VjcmV0" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "[]", "cluster: x", "a: b: c", "cluster: &a [*a]"])
def test_what_is_no_bundle_is_bad_input(text: str):
    with pytest.raises(BadInputError, match="secrets bundle"):
        SecretsBundle.from_yaml(text)


def test_a_bundle_with_both_kinds_of_encryption_secret_is_refused():
    content = yaml.safe_load(bundle().to_yaml())
    content["secrets"]["aescbcencryptionsecret"] = "x"

    with pytest.raises(BadInputError, match="exactly one"):
        SecretsBundle.from_yaml(yaml.safe_dump(content))


def test_a_text_that_is_no_key_is_bad_input():
    with pytest.raises(BadInputError, match="not a private key"):
        load_key("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")


def test_the_talosconfig_holds_an_administrator_signed_by_the_os_ca():
    text = admin_talosconfig(
        "harbour", bundle(), endpoints=["192.0.2.10"], nodes=["192.0.2.10"], mint=mint()
    )

    content = yaml.safe_load(text)
    context = content["contexts"][content["context"]]
    certificate = x509.load_pem_x509_certificate(base64.b64decode(context["crt"]))
    certificate.verify_directly_issued_by(bundle().os.certificate)
    assert certificate.subject.rfc4514_string() == "O=os:admin"
    assert context["endpoints"] == ["192.0.2.10"]


def test_the_kubeconfig_holds_an_administrator_and_the_name_to_verify():
    text = admin_kubeconfig(
        "harbour",
        bundle(),
        server="https://127.13.0.5:6443",
        tls_server_name="api.harbour.example.org",
        mint=mint(),
    )

    content = yaml.safe_load(text)
    user = content["users"][0]["user"]
    certificate = x509.load_pem_x509_certificate(base64.b64decode(user["client-certificate-data"]))
    certificate.verify_directly_issued_by(bundle().kubernetes.certificate)
    assert certificate.subject.rfc4514_string() == "CN=admin,O=system:masters"
    assert certificate.not_valid_before_utc == NOW - timedelta(seconds=10)
    assert content["clusters"][0]["cluster"]["tls-server-name"] == "api.harbour.example.org"
    assert content["current-context"] == "admin@harbour"
