"""A lab cluster with Argo CD and one Git repository, for tests that tell stories about them.

with gitops(folder, "127.17.3.1") as lab:
    lab.commit({"app/deployment.yaml": ...}); lab.create(APPLICATIONS, {...}); lab.until("synced", ...)
"""

import asyncio
import os
import queue
import subprocess
from collections.abc import Callable, Coroutine, Generator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from tests.lab.kubernetes_fixture import LabKubernetes, serving
from windlass.lab import homelab
from windlass.lab.clock import Clock
from windlass.lab.controllers.access import Access, Client
from windlass.lab.controllers.argocd.applications import REFRESH
from windlass.lab.controllers.argocd.git import Repositories
from windlass.lab.controllers.argocd.render import render
from windlass.lab.controllers.kubelet import Kubelet
from windlass.lab.controllers.loops import ControlLoops
from windlass.lab.controllers.node import NodeIdentity
from windlass.lab.controllers.objects import Object, dig
from windlass.lab.controllers.programs import programs_for
from windlass.lab.controllers.resources import APPLICATIONS

T = TypeVar("T")
URL = "https://git.example.org/lab/story.git"
SPEED = 30.0
PATIENCE_SECONDS = 30


@dataclass
class GitOpsLab:
    """A served cluster. Calls run in its loop; `git` is the work tree behind `URL`."""

    api: LabKubernetes
    loop: asyncio.AbstractEventLoop
    client: Client
    git: Path
    folder: Path

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE_SECONDS)

    def until(self, what: str, holds: Callable[[], bool]) -> None:
        for _ in range(PATIENCE_SECONDS * 10):
            if holds():
                return
            self.do(asyncio.sleep(0.1))
        apps = self.do(self.client.list(APPLICATIONS, "argocd"))
        pytest.fail(f"never came true: {what}; {[app.get('status') for app in apps]}")

    def commit(self, files: Mapping[str, Object | str | None]) -> str:
        """These files are so on `main` (None: gone); the commit's id."""
        for name, content in files.items():
            path = self.git / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                path.unlink()
            else:
                text = content if isinstance(content, str) else yaml.safe_dump(content)
                path.write_text(text)
        run_git(self.git, "add", "--all")
        run_git(self.git, "commit", "--quiet", "--allow-empty", "--message", "change")
        return run_git(self.git, "rev-parse", "HEAD").strip()

    def app(self, name: str) -> Object:
        found = self.do(self.client.get(APPLICATIONS.ref(name, "argocd")))
        assert found is not None
        return found

    def make_app(self, name: str, path: str, *, automated: Object | None = None) -> None:
        """An Application of this folder, in a namespace of its own name."""
        policy: Object = {"syncOptions": ["CreateNamespace=true"]}
        if automated is not None:
            policy["automated"] = automated
        body: Object = {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Application",
            "metadata": {"name": name, "namespace": "argocd"},
            "spec": {
                "project": "default",
                "source": {"repoURL": URL, "targetRevision": "main", "path": path},
                "destination": {"name": "in-cluster", "namespace": name},
                "syncPolicy": policy,
            },
        }
        self.do(self.client.create(APPLICATIONS, body))

    def refresh(self, name: str) -> None:
        body = {"metadata": {"annotations": {REFRESH: "hard"}}}
        self.do(self.client.merge(APPLICATIONS.ref(name, "argocd"), body))

    def says(self, name: str, *path: str) -> Any:
        return dig(self.app(name), "status", *path)

    def fault(self, name: str, **args: Any) -> None:
        """In the loop of the server: the store belongs to its thread."""
        self.api.run(lambda: self.api.world.faults.set(name, **args))

    def clear(self) -> None:
        self.api.run(self.api.world.faults.clear)


def run_git(folder: Path, *args: str) -> str:
    who = {"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example.org"}
    who |= {"GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@example.org"}
    return subprocess.run(
        ["git", "-C", str(folder), *args],
        env={"PATH": os.environ["PATH"], "HOME": os.devnull, **who},
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    ).stdout


def node(name: str, last: int) -> NodeIdentity:
    return NodeIdentity(
        name=name,
        addresses=(f"10.25.150.{last}",),
        kubelet_version="v1.34.4",
        os_image="Talos (v1.13.9)",
        boot_id=f"boot-{name}",
        machine_id=name,
        system_uuid=name,
        cpu=4,
        memory=4096,
    )


@contextmanager
def gitops(folder: Path, address: str) -> Generator[GitOpsLab]:
    git = folder / "story"
    git.mkdir(parents=True)
    run_git(git, "init", "--quiet", "--initial-branch=main")
    with serving(folder / "lab", address) as api:
        lab: queue.Queue[GitOpsLab] = queue.Queue()
        life = asyncio.run_coroutine_threadsafe(live(api, folder, lab), api.loop)
        try:
            yield lab.get(timeout=PATIENCE_SECONDS)
        finally:
            life.cancel()
            with suppress(CancelledError):
                life.result(10)
            # The loop's thread needs a turn to close what was cancelled.
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0.3), api.loop).result(5)


async def live(api: LabKubernetes, folder: Path, ready: "queue.Queue[GitOpsLab]") -> None:
    """Controllers, two nodes and Argo CD, until cancelled."""
    access = Access(api.url, api.tls(api.admin), "windlass-lab-test")
    clock, faults = Clock(SPEED), api.world.faults
    programs = programs_for({URL: folder / "story"}, faults)
    async with Client(access) as client, asyncio.TaskGroup() as tasks:
        tasks.create_task(ControlLoops(access, clock).run())
        for at, name in enumerate(("w-1", "w-2")):
            kubelet = Kubelet(access, clock, node(name, 20 + at), programs=programs, faults=faults)
            tasks.create_task(kubelet.run())
        await install(client, folder)
        ready.put(GitOpsLab(api, api.loop, client, folder / "story", folder))


async def install(client: Client, folder: Path) -> None:
    """The network and Argo CD of the lab's own homelab."""
    url = "https://git.example.org/install"
    commit = homelab.create_repository(folder / "install.git", url)
    with Repositories({url: folder / "install.git"}) as repositories:
        tree = await repositories.checkout(url, commit)
        for path in (homelab.CNI, homelab.ARGOCD):
            for manifest in await render(tree, {"path": path}):
                resource = None
                while resource is None:
                    resource = await client.kind(manifest["apiVersion"], manifest["kind"])
                await client.apply(resource.of(manifest), manifest, manager="test")
