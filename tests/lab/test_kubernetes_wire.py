"""The Kubernetes client against servers that say exactly one thing: what it means, and what was sent."""

import base64
import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.lab.wire_peer import Drip, Peer, Request, Reset, Says, answer, self_signed
from windlass.clients.kubernetes import KubernetesClient, read_kubeconfig
from windlass.clients.kubernetes.client import Kinds
from windlass.errors import (
    AmbiguousError,
    BadInputError,
    DeniedError,
    NotReadyError,
    RefusedError,
    UnreachableError,
    WindlassError,
)
from windlass.lab.pki import Authority
from windlass.models.plan import JsonObject

ADDRESS = "127.18.0.3"
NAME = "api.kube.test"
TOKEN = "canary-bearer-77"
CONFIG_MAP: JsonObject = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "c", "namespace": "a"},
}
RESOURCES = {
    "kind": "APIResourceList",
    "resources": [
        {"name": "configmaps", "kind": "ConfigMap", "namespaced": True},
        {"name": "nodes", "kind": "Node", "namespaced": False},
        {"name": "nodes/status", "kind": "Node", "namespaced": False},
    ],
}


def json(status: int, body: dict[str, Any]) -> bytes:
    return answer(status, "whatever", orjson.dumps(body))


def refusal(code: int, reason: str, message: str, **details: Any) -> bytes:
    body = {"kind": "Status", "status": "Failure", "code": code, "reason": reason}
    return json(code, body | {"message": message, "details": details})


def kubeconfig(folder: Path, port: int, ca_file: Path, **cluster: Any) -> Path:
    ca = base64.b64encode(ca_file.read_bytes()).decode()
    server = {"server": f"https://{ADDRESS}:{port}", "certificate-authority-data": ca}
    document = {
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": server | {"tls-server-name": NAME} | cluster}],
        "users": [{"name": "u", "user": {"token": TOKEN}}],
    }
    path = folder / "kubeconfig"
    path.write_bytes(orjson.dumps(document))
    return path


def client(path: Path, limit_s: float = 2, kinds: Kinds | None = None) -> KubernetesClient:
    limit = timedelta(seconds=limit_s)
    return KubernetesClient(
        read_kubeconfig(path), agent="windlass/0.1", probe=limit, call=limit, kinds=kinds
    )


class Api:
    """One scripted API server; discovery answers by itself."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.says: Callable[[Request], Says] = lambda _: json(200, {})
        crt, key = authority.issue("api", [NAME])
        self.peer = Peer(ADDRESS, crt, key, self._answer)
        self.folder = folder
        self.ca_file = authority.ca_file

    def _answer(self, request: Request) -> Says:
        return json(200, RESOURCES) if request.path == "/api/v1" else self.says(request)

    def client(self, limit_s: float = 2, kinds: Kinds | None = None) -> KubernetesClient:
        return client(kubeconfig(self.folder, self.peer.port, self.ca_file), limit_s, kinds)

    @property
    def asked(self) -> list[Request]:
        return [request for request in self.peer.requests if request.path != "/api/v1"]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.open(tmp_path / "pki")


@pytest.fixture
def api(tmp_path: Path, authority: Authority) -> Iterator[Api]:
    one = Api(tmp_path, authority)
    with one.peer:
        yield one


def read(kubernetes: KubernetesClient) -> object:
    return kubernetes.get("v1", "ConfigMap", "a", "c")


def write(kubernetes: KubernetesClient) -> object:
    return kubernetes.apply(CONFIG_MAP, "windlass")


OWNED = {
    "reason": "FieldManagerConflict",
    "message": 'conflict with "kubectl"',
    "field": ".data.x",
}


@pytest.mark.parametrize(
    ("call", "says", "error", "text"),
    [
        (
            read,
            refusal(429, "TooManyRequests", "slow down", retryAfterSeconds=3),
            NotReadyError,
            "3 s",
        ),
        (
            write,
            refusal(429, "TooManyRequests", "slow down", retryAfterSeconds=3),
            NotReadyError,
            "3 s",
        ),
        (
            read,
            refusal(500, "InternalError", "etcdserver: leader changed"),
            UnreachableError,
            "leader",
        ),
        (
            write,
            refusal(500, "InternalError", "etcdserver: leader changed"),
            AmbiguousError,
            "leader",
        ),
        (
            write,
            refusal(503, "ServiceUnavailable", "apiserver is shutting down"),
            AmbiguousError,
            "503",
        ),
        (read, answer(504, "Gateway Timeout", b"<html>", "text/html"), UnreachableError, "504"),
        (write, refusal(409, "Conflict", "object modified"), NotReadyError, "newer object"),
        (write, refusal(409, "Conflict", "1 conflict", causes=[OWNED]), RefusedError, r"\.data\.x"),
        (write, refusal(409, "AlreadyExists", "exists"), RefusedError, "AlreadyExists"),
        (write, refusal(422, "Invalid", "is invalid"), RefusedError, "Invalid"),
        (read, refusal(401, "Unauthorized", "Unauthorized"), DeniedError, "401"),
        (read, refusal(403, "Forbidden", "cannot get resource"), DeniedError, "cannot get"),
        (
            read,
            refusal(404, "NotFound", "the server could not find the requested resource"),
            NotReadyError,
            "does not serve this now",
        ),
        (
            write,
            answer(404, "Not Found", b"404 page not found", "text/plain"),
            NotReadyError,
            "does not serve this now",
        ),
        (
            write,
            refusal(404, "NotFound", 'namespaces "a" not found', name="a"),
            RefusedError,
            'namespaces "a" not found',
        ),
        (read, refusal(410, "Expired", "too old"), NotReadyError, "compacted"),
        (read, Reset(), UnreachableError, "no answer"),
        (write, Reset(), AmbiguousError, "may have been done"),
        (read, answer(200, "OK", b"<html>", "text/html"), UnreachableError, "no JSON"),
        (write, answer(200, "OK", b"<html>", "text/html"), AmbiguousError, "no JSON"),
        (write, answer(200, "OK", b'{"half'), AmbiguousError, "no JSON"),
    ],
)
def test_what_an_answer_means(
    api: Api,
    call: Callable[[KubernetesClient], object],
    says: Says,
    error: type[WindlassError],
    text: str,
):
    api.says = lambda _: says

    with api.client() as kubernetes, pytest.raises(error, match=text) as raised:
        call(kubernetes)

    assert type(raised.value) is error
    assert len(api.asked) == 1


@pytest.mark.parametrize("call", [read, write])
def test_a_redirect_is_not_followed(api: Api, call: Callable[[KubernetesClient], object]):
    moved = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
    api.says = lambda _: moved

    with api.client() as kubernetes, pytest.raises(WindlassError, match="redirect"):
        call(kubernetes)

    assert len(api.asked) == 1


@pytest.mark.parametrize(("call", "error"), [(read, UnreachableError), (write, AmbiguousError)])
def test_a_server_of_one_byte_at_a_time_meets_the_total_deadline(
    api: Api, call: Callable[[KubernetesClient], object], error: type[WindlassError]
):
    api.says = lambda _: Drip(json(200, {"data": "x" * 2000}), pause_s=0.02)

    with api.client(0.6) as kubernetes, pytest.raises(error):
        call(kubernetes)


def test_pages_share_one_deadline(api: Api):
    page = json(200, {"items": [], "metadata": {"continue": "more"}})
    api.says = lambda _: Drip(page, pause_s=0.002)

    with api.client(0.6) as kubernetes, pytest.raises(UnreachableError):
        kubernetes.list_objects("v1", "Node")


def test_all_pages_are_read(api: Api):
    def page(request: Request) -> Says:
        more = "continue=" not in request.path
        names = ["a", "b"] if more else ["c"]
        items = [{"metadata": {"name": name}} for name in names]
        return json(200, {"items": items, "metadata": {"continue": "t0" if more else ""}})

    api.says = page

    with api.client() as kubernetes:
        nodes = kubernetes.nodes()

    assert [node.name for node in nodes] == ["a", "b", "c"]
    assert not any(node.ready for node in nodes)


def test_an_apply_is_strict_and_says_whose_it_is(api: Api):
    with api.client() as kubernetes:
        kubernetes.apply(CONFIG_MAP, "windlass")

    (sent,) = api.asked
    where, _, query = sent.path.partition("?")
    assert (sent.method, where) == ("PATCH", "/api/v1/namespaces/a/configmaps/c")
    assert query == "fieldManager=windlass&force=false&fieldValidation=Strict"
    assert sent.headers["content-type"] == "application/apply-patch+yaml"
    assert sent.headers["authorization"] == f"Bearer {TOKEN}"
    assert orjson.loads(sent.body) == CONFIG_MAP


def test_absence_of_an_object_is_an_answer_but_absence_of_its_kind_is_not(api: Api):
    api.says = lambda _: refusal(404, "NotFound", 'configmaps "c" not found', name="c")

    with api.client() as kubernetes:
        assert kubernetes.get("v1", "ConfigMap", "a", "c") is None
        with pytest.raises(NotReadyError, match="does not serve Secret"):
            kubernetes.get("v1", "Secret", "a", "c")


def test_what_one_client_learned_of_the_kinds_another_need_not_ask_until_it_holds_no_more(
    api: Api,
):
    kinds: Kinds = {}

    def ask() -> list[str]:
        before = len(api.peer.requests)
        with api.client(kinds=kinds) as kubernetes:
            kubernetes.get("v1", "ConfigMap", "a", "c")
        return [request.path for request in api.peer.requests[before:]]

    api.says = lambda _: json(200, CONFIG_MAP)
    path = "/api/v1/namespaces/a/configmaps/c"
    assert (ask(), ask()) == (["/api/v1", path], [path])

    api.says = lambda _: refusal(404, "NotFound", "the server could not find it")
    with pytest.raises(NotReadyError):
        ask()
    api.says = lambda _: json(200, CONFIG_MAP)
    assert ask() == ["/api/v1", path]


def test_another_server_gets_not_one_byte(tmp_path: Path, authority: Authority):
    made = self_signed(tmp_path, [NAME])
    with Peer(ADDRESS, *made, lambda _: json(200, {"gitVersion": "v1.34.4"})) as peer:
        path = kubeconfig(tmp_path, peer.port, authority.ca_file)
        with client(path) as kubernetes, pytest.raises(RefusedError, match="nothing was sent"):
            kubernetes.version()

        assert peer.received == 0


def test_a_name_of_another_server_gets_not_one_byte(api: Api):
    path = kubeconfig(api.folder, api.peer.port, api.ca_file, **{"tls-server-name": "other.test"})

    with client(path) as kubernetes, pytest.raises(RefusedError, match="nothing was sent"):
        kubernetes.version()

    assert api.peer.received == 0


def test_nobody_there_is_unreachable_for_a_write_too(tmp_path: Path, authority: Authority):
    path = kubeconfig(tmp_path, 1, authority.ca_file)

    with client(path) as kubernetes, pytest.raises(UnreachableError):
        kubernetes.apply(CONFIG_MAP, "windlass")


@pytest.mark.parametrize(
    ("cluster", "text"),
    [
        ({"insecure-skip-tls-verify": True}, "not supported"),
        ({"server": "http://127.18.0.3"}, "no https"),
        ({"certificate-authority-data": "%%%"}, "base64"),
        ({"certificate-authority-data": ""}, "names no certificate-authority"),
    ],
)
def test_a_kubeconfig_that_verifies_nothing_is_refused(
    tmp_path: Path, authority: Authority, cluster: dict[str, Any], text: str
):
    path = kubeconfig(tmp_path, 1, authority.ca_file, **cluster)

    with pytest.raises(BadInputError, match=text):
        client(path)


@pytest.mark.parametrize("content", [b"", b"[]", b"a: [", b"current-context: x", b"\xff\xfe"])
def test_a_broken_kubeconfig_is_refused_without_quoting_it(tmp_path: Path, content: bytes):
    path = tmp_path / "kubeconfig"
    path.write_bytes(content)

    with pytest.raises(BadInputError, match="makes no sense"):
        client(path)


ODD: list[Any] = [
    {"metadata": []},
    {"status": {"conditions": [1]}},
    {"status": {"addresses": [{}]}},
    {"spec": {"taints": "x"}},
    5,
]


@pytest.mark.parametrize("item", ODD)
def test_a_node_of_any_shape_is_an_answer_or_unreachable(api: Api, item: Any):
    api.says = lambda _: json(200, {"items": [item], "metadata": {}})

    with api.client() as kubernetes, contextlib.suppress(UnreachableError):
        kubernetes.nodes()

    assert len(api.asked) == 1
