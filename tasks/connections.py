"""Clients of one site, opened late: addresses through `reach`, credentials through references, trust as written."""

import os
import tempfile
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path

from windlass.clients.factory import FactoryClient
from windlass.clients.git import GitClient
from windlass.clients.kubernetes import KubernetesClient, access
from windlass.clients.kubernetes.client import Kinds
from windlass.clients.kustomize import render
from windlass.clients.proxmox import ProxmoxClient
from windlass.clients.talos import TalosClient
from windlass.errors import NotReadyError, RefusedError
from windlass.models.load import LoadedSite
from windlass.models.plan import JsonObject
from windlass.models.site import Node
from windlass.models.talos import TalosCredentials
from windlass.secrets import read_private, resolve
from windlass.talosconfig.kubeconfig import admin_certificate
from windlass.talosconfig.pki import Mint, client_certificate
from windlass.talosconfig.secrets import SecretsBundle

TALOS_PORT = 50000
# Credentials that end sooner than this are written anew when the site is booted.
RENEW = timedelta(days=30)


class _Administrator:
    """A site's secrets bundle, and an administrator's credentials made from it, valid for a year."""

    def __init__(self, bundle: str) -> None:
        self.bundle = SecretsBundle.from_yaml(bundle)
        mint = Mint(os.urandom, datetime.now(UTC))
        self.kubernetes = admin_certificate(self.bundle, mint)
        pair = client_certificate(
            self.bundle.os, organization=("os:admin",), common_name=None, mint=mint
        )
        self.talos = TalosCredentials(self.bundle.os.crt, pair.crt, pair.key)


class Connections:
    """Makes clients; holds none. Every client says in its user agent who it is.

    The actions of one operation share it, from many threads: what is costly to make is made once.
    """

    def __init__(self, loaded: LoadedSite, agent: str) -> None:
        self._loaded = loaded
        self._site = loaded.site
        self.agent = agent
        self._kinds: Kinds = {}
        # By the text of the bundle: the file is made, and may be replaced, while an operation runs.
        self._administrator = lru_cache(maxsize=1)(_Administrator)

    def proxmox(self) -> ProxmoxClient:
        spec, pace = self._site.proxmox, self._site.pace
        return ProxmoxClient(
            spec.endpoints,
            spec.token_id,
            resolve(spec.token_secret, self._loaded.path.parent),
            ca_file=self._loaded.resolve(spec.ca_file) if spec.ca_file else None,
            fingerprints=spec.fingerprints,
            reach=self._site.reached,
            agent=self.agent,
            probe=pace.probe,
            call=pace.call,
        )

    def talos(self, node: Node) -> TalosClient:
        """A client with the administrator's certificate, straight to the node."""
        return self._talos(node, self._credentials().talos, ())

    def maintenance(self, node: Node, pins: Collection[str] = ()) -> TalosClient:
        """A client without credentials; with `pins`, to this very certificate or to none."""
        return self._talos(node, None, pins)

    def _talos(
        self, node: Node, credentials: TalosCredentials | None, pins: Collection[str]
    ) -> TalosClient:
        host, port = self._site.reached(str(node.address), TALOS_PORT)
        return TalosClient(
            host,
            port,
            node_address=str(node.address),
            credentials=credentials,
            pins=pins,
            agent=self.agent,
            probe=self._site.pace.probe,
            call=self._site.pace.call,
        )

    def talos_address(self, node: Node) -> str:
        """Where the node's Talos API is reached from here: an address, with a port where it is not the usual one."""
        host, port = self._site.reached(str(node.address), TALOS_PORT)
        return host if port == TALOS_PORT else f"{host}:{port}"

    def kubernetes(self) -> KubernetesClient:
        """A client with the administrator's certificate, made from the site's own secrets.

        No kubeconfig is read: a file may be another cluster's, or out of date.
        """
        mine, cluster, pace = self._credentials(), self._site.cluster, self._site.pace
        opened = access(
            server=self.api_server,
            server_name=cluster.endpoint,
            authority=mine.bundle.kubernetes.crt,
            certificate=mine.kubernetes.crt,
            key=mine.kubernetes.key,
        )
        return KubernetesClient(
            opened, agent=self.agent, probe=pace.probe, call=pace.call, kinds=self._kinds
        )

    @property
    def api_server(self) -> str:
        """The URL at which the Kubernetes API is reached from here."""
        host, port = self._site.reached(self._site.cluster.endpoint, self._site.cluster.port)
        return f"https://{host}:{port}"

    def factory(self) -> FactoryClient:
        image = self._site.cluster.image
        return FactoryClient(
            image.factory,
            ca_file=self._loaded.resolve(image.ca_file) if image.ca_file else None,
            reach=self._site.reached,
            agent=self.agent,
            deadline=self._site.pace.probe,
        )

    def git(self) -> GitClient:
        gitops = self._site.gitops
        if gitops is None:
            raise ValueError(f"site {self._site.name} has no gitops")
        credentials = (
            resolve(gitops.credentials, self._loaded.path.parent) if gitops.credentials else None
        )
        return GitClient(gitops.repo, credentials=credentials, deadline=self._site.pace.call)

    @property
    def repository(self) -> str:
        """The URL of the site's repository; empty without one."""
        return self._site.gitops.repo if self._site.gitops else ""

    def render(self, commit: str, root: str) -> list[JsonObject]:
        """The objects of one folder or file of the repository at a commit."""
        with tempfile.TemporaryDirectory(prefix="windlass-git-") as folder:
            checkout = Path(folder) / "checkout"
            self.git().checkout(commit, checkout)
            return render(checkout, root)

    def secrets(self) -> SecretsBundle:
        """The site's secrets bundle; a file others can read is refused."""
        return self._credentials().bundle

    def _credentials(self) -> "_Administrator":
        return self._administrator(read_private(self.secrets_path))

    @property
    def secrets_path(self) -> Path:
        return self._loaded.resolve(self._site.cluster.secrets.removeprefix("file:"))

    @property
    def kubeconfig_path(self) -> Path:
        return self._loaded.resolve(self._site.outputs.kubeconfig)

    @property
    def talosconfig_path(self) -> Path:
        return self._loaded.resolve(self._site.outputs.talosconfig)

    def written(self, path: Path, ends: Callable[[str, SecretsBundle], datetime]) -> JsonObject:
        """Evidence that an administrator's file is there, is this site's own and stays valid for a while.

        Raises:
            NotReadyError: it is absent, or ends soon: it is to be written.
            RefusedError: it is another cluster's, or somebody else's: it is not to be overwritten.
        """
        try:
            text = path.read_text()
        except FileNotFoundError as error:
            raise NotReadyError(f"{path} does not exist") from error
        except (OSError, UnicodeDecodeError) as error:
            raise RefusedError(f"{path} cannot be read: {error}") from error
        try:
            end = ends(text, self.secrets())
        except RefusedError as error:
            raise RefusedError(
                f"{path}: {error}. It is not overwritten: move it away, or name another file under outputs"
            ) from error
        if end - datetime.now(UTC) < RENEW:
            raise NotReadyError(f"{path} ends on {end:%Y-%m-%d}")
        return {"path": str(path), "until": end.isoformat()}
