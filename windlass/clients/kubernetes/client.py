"""The Kubernetes API (https://kubernetes.io/docs/reference/using-api/) by the official client.

Objects go in and out as JSON; what is decided on becomes a frozen answer. Nothing is retried, no
redirect is followed, and every call, paging included, has one total deadline.
"""

import re
import ssl
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self, TypeVar, cast
from urllib.parse import quote, urlencode

import orjson
import urllib3
from kubernetes.client.api_client import ApiClient
from kubernetes.client.configuration import Configuration
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from windlass.clients.kubernetes.kubeconfig import Access
from windlass.clients.kubernetes.meaning import translate, unanswered
from windlass.clients.kubernetes.reading import (
    application_state,
    at,
    node_state,
    pod_state,
    workload_state,
)
from windlass.deadline import within
from windlass.errors import (
    BadInputError,
    NotReadyError,
    RefusedError,
    UnreachableError,
    WindlassError,
)
from windlass.models.kubernetes import ApplicationState, NodeState, PodState, WorkloadState
from windlass.models.plan import JsonObject

T = TypeVar("T")

# By group and version: each kind's plural, and whether it is namespaced.
Kinds = dict[str, dict[str, tuple[str, bool]]]

ARGO = "argoproj.io/v1alpha1"
# What kubectl asks for at a time; a page stays far below what an API server compacts away.
PAGE = 500
# TLS alerts with which a server turns a client's certificate down, before it reads a request.
NOT_ACCEPTED = re.compile(r"ALERT_(CERTIFICATE|BAD_CERTIFICATE|UNKNOWN_CA|UNSUPPORTED_CERTIFICATE)")
LARGEST_BODY = 256 * 1024 * 1024


class KubernetesClient:
    """One cluster's API as one identity. One thread's; closed by it."""

    def __init__(
        self,
        access: Access,
        *,
        agent: str,
        probe: timedelta,
        call: timedelta,
        kinds: Kinds | None = None,
    ) -> None:
        """Make no connection yet. `probe` bounds a read, `call` a write: the whole call each.

        Clients of one cluster may share what they learn of its `kinds`, from several threads too.
        """
        self._probe = probe
        self._call_limit = call
        self._server = access.server
        configuration = Configuration(host=access.server)
        self._api: Any = ApiClient(configuration)
        self._api.rest_client.pool_manager = _Pool(access)
        self._headers = {"User-Agent": agent, "Accept": "application/json"}
        if access.token is not None:
            self._headers["Authorization"] = f"Bearer {access.token.get_secret_value()}"
        self._kinds: Kinds = {} if kinds is None else kinds

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._api.close()

    # What is decided on

    def version(self) -> str:
        """Return the API server's version, such as `v1.36.1`."""
        return str(self._get("/version").get("gitVersion", ""))

    def nodes(self) -> tuple[NodeState, ...]:
        return _read(node_state, self.list_objects("v1", "Node"))

    def pods(self, namespace: str | None, selector: str | None = None) -> tuple[PodState, ...]:
        """Return pods of a namespace, or of all; `selector` is a label selector."""
        return _read(pod_state, self.list_objects("v1", "Pod", namespace, selector))

    def workload(self, kind: str, namespace: str, name: str) -> WorkloadState | None:
        """Return how far a Deployment, StatefulSet or DaemonSet is; None: there is none."""
        found = self.get("apps/v1", kind, namespace, name)
        return None if found is None else _read(partial(workload_state, kind), [found])[0]

    def application(self, name: str, namespace: str) -> ApplicationState | None:
        """Return an Argo CD Application; None: there is none, or the API does not know Applications yet."""
        if not self.serves(ARGO, "Application"):
            return None
        found = self.get(ARGO, "Application", namespace, name)
        return None if found is None else _read(application_state, [found])[0]

    # Objects

    def serves(self, api_version: str, kind: str) -> bool:
        """Say whether the API knows this kind now."""
        return self._kind(api_version, kind) is not None

    def get(
        self, api_version: str, kind: str, namespace: str | None, name: str
    ) -> JsonObject | None:
        """Return an object; None: there is none of this name.

        Raises:
            NotReadyError: the API does not know the kind (yet).
        """
        path = self._path(api_version, kind, namespace, name)
        status, body = self._exchange("GET", path, limit=self._probe)
        if status == HTTPStatus.NOT_FOUND and at(body, "details.name") == name:
            return None
        return self._checked(status, body, "GET", path)

    def list_objects(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        selector: str | None = None,
    ) -> tuple[JsonObject, ...]:
        """Return all objects of a kind, page by page. They carry no kind of their own in a list."""
        path = self._path(api_version, kind, namespace, None)
        query = {"limit": str(PAGE)} | ({"labelSelector": selector} if selector else {})
        found: list[JsonObject] = []
        with within(self._call_limit):
            while True:
                page = self._get(path, query)
                found += page.get("items") or []
                if not (go_on := at(page, "metadata.continue", "")):
                    return tuple(found)
                query["continue"] = go_on

    def apply(self, manifest: JsonObject, manager: str, force: bool = False) -> JsonObject:
        """Make an object what `manifest` says, as field manager `manager` (server-side apply).

        Safe to call again. Unknown fields are refused.

        Raises:
            RefusedError: another manager owns a field (and not `force`), or it is not valid.
        """
        query = {"fieldManager": manager, "force": str(force).lower(), "fieldValidation": "Strict"}
        return self._send(
            "PATCH",
            self._path_of(manifest),
            query,
            orjson.dumps(manifest),
            "application/apply-patch+yaml",
        )

    def patch_merge(
        self, api_version: str, kind: str, namespace: str | None, name: str, patch: JsonObject
    ) -> JsonObject:
        """Change an object by a JSON merge patch; a `resourceVersion` in it guards the change."""
        path = self._path(api_version, kind, namespace, name)
        query = {"fieldValidation": "Strict"}
        return self._send("PATCH", path, query, patch, "application/merge-patch+json")

    def create(self, manifest: JsonObject) -> JsonObject:
        """Create an object.

        Raises:
            RefusedError: there is one of this name ("AlreadyExists"), or it is not valid.
        """
        path = self._path_of(manifest, collection=True)
        return self._send("POST", path, {"fieldValidation": "Strict"}, manifest)

    def delete(self, api_version: str, kind: str, namespace: str | None, name: str) -> None:
        """Ask for an object's end, in the background; one that is not there is no error."""
        path = self._path(api_version, kind, namespace, name)
        status, body = self._exchange(
            "DELETE", path, {"propagationPolicy": "Background"}, limit=self._call_limit
        )
        if status != HTTPStatus.NOT_FOUND:
            self._checked(status, body, "DELETE", path)

    # The way there

    def _path_of(self, manifest: JsonObject, *, collection: bool = False) -> str:
        name = at(manifest, "metadata.name")
        if not isinstance(name, str) and not collection:
            raise BadInputError(f"a {manifest.get('kind')} without a name cannot be applied")
        return self._path(
            str(manifest.get("apiVersion")),
            str(manifest.get("kind")),
            at(manifest, "metadata.namespace"),
            None if collection else name,
        )

    def _path(self, api_version: str, kind: str, namespace: str | None, name: str | None) -> str:
        known = self._kind(api_version, kind)
        if known is None:
            raise NotReadyError(f"the Kubernetes API does not serve {kind} of {api_version}")
        plural, namespaced = known
        parts = [_root(api_version)]
        if namespaced and (namespace or name):
            parts.append(f"namespaces/{quote(namespace or 'default', safe='')}")
        parts.append(plural)
        if name is not None:
            parts.append(quote(name, safe=""))
        return "/".join(parts)

    def _kind(self, api_version: str, kind: str) -> tuple[str, bool] | None:
        """Return plural and whether it is namespaced; an unknown kind is asked for anew."""
        known = self._kinds.get(api_version, {})
        if kind not in known:
            path = _root(api_version)
            status, body = self._exchange("GET", path, limit=self._probe)
            if status == HTTPStatus.NOT_FOUND:
                return None
            found: list[dict[str, Any]] = self._checked(status, body, "GET", path)["resources"]
            known = {
                one["kind"]: (one["name"], one["namespaced"])
                for one in found
                if "/" not in one["name"]
            }
            self._kinds[api_version] = known
        return known.get(kind)

    def _get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        return self._send("GET", path, query, limit=self._probe)

    def _send(  # noqa: PLR0913 - a request is these
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: JsonObject | bytes | None = None,
        content: str = "application/json",
        *,
        limit: timedelta | None = None,
    ) -> dict[str, Any]:
        status, answer = self._exchange(
            method, path, query, body, content, limit=limit or self._call_limit
        )
        return self._checked(status, answer, method, path)

    def _checked(self, status: int, body: Any, method: str, path: str) -> dict[str, Any]:
        known = cast(dict[str, Any], body) if isinstance(body, dict) else None
        if status == HTTPStatus.NOT_FOUND:
            # Perhaps it is the path that is not there: what was learned of the kinds holds no more.
            self._kinds.clear()
        if status >= HTTPStatus.BAD_REQUEST:
            raise translate(status, known or {}, method, path)
        if status >= HTTPStatus.MULTIPLE_CHOICES:
            raise unanswered(method, path, f"{status}: a redirect, which is not followed")
        if known is None:
            raise unanswered(method, path, f"{status}, but no JSON object")
        return known

    def _exchange(  # noqa: PLR0913 - a request is these
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: JsonObject | bytes | None = None,
        content: str = "application/json",
        *,
        limit: timedelta,
    ) -> tuple[int, Any]:
        """Return status and body: JSON, or None where it is none.

        The one place where the transport's errors become ours.
        """
        url = f"{self._server}{path}" + (f"?{urlencode(query)}" if query else "")
        headers = dict(self._headers) | ({"Content-Type": content} if body is not None else {})
        try:
            with within(limit):
                answer = self._api.call_api(
                    method, url, headers, body, _request_timeout=limit.total_seconds()
                )
                return answer.status, _body(answer.response)
        except (NewConnectionError, ConnectTimeoutError) as error:
            raise UnreachableError(f"the Kubernetes API at {self._server}: {error}") from error
        except (
            ApiException
        ) as error:  # how the official client wraps an SSLError, and nothing else here
            raise _tls(error.__context__, method, path) from error
        except (HTTPError, OSError) as error:
            raise unanswered(method, path, str(error)) from error


class _Pool(urllib3.PoolManager):
    """The connection of one client: nothing is sent twice, and no redirect is followed."""

    def __init__(self, access: Access) -> None:
        super().__init__(
            num_pools=1,
            ssl_context=access.trust,
            server_hostname=access.server_name,
        )

    def urlopen(
        self, method: str, url: str, redirect: bool = False, **kw: Any
    ) -> urllib3.BaseHTTPResponse:
        del redirect
        return super().urlopen(method, url, redirect=False, **{**kw, "retries": False})


def _read(as_answer: Callable[[JsonObject], T], objects: Iterable[JsonObject]) -> tuple[T, ...]:
    """Return objects as answers; an object of another shape is no answer."""
    try:
        return tuple(map(as_answer, objects))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UnreachableError(
            f"a Kubernetes object is not what it should be: {error!r}"
        ) from error


def _root(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def _body(answer: urllib3.BaseHTTPResponse) -> Any:
    """Return the JSON of an answer, None where it is none.

    A server that is too busy to say so in JSON still says in a header how long.
    """
    try:
        return orjson.loads(answer.read(LARGEST_BODY))
    except orjson.JSONDecodeError:
        wait = answer.headers.get("Retry-After")
        return {"details": {"retryAfterSeconds": wait}} if wait else None


def _tls(error: BaseException | None, method: str, path: str) -> WindlassError:
    """Return what a TLS error means: who is not trusted by whom, or a connection that broke."""
    cause = error.args[0] if error is not None and error.args else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return RefusedError(
            f"this is not the API of the kubeconfig, nothing was sent: {cause.verify_message or cause}"
        )
    if isinstance(cause, ssl.SSLError) and NOT_ACCEPTED.search(str(cause.reason)):
        return RefusedError(f"the Kubernetes API does not accept our certificate: {cause.reason}")
    return unanswered(method, path, str(cause))
