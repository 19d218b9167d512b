"""Namespaces: what every one of them has, and emptying one that goes."""

import ssl

from windlass.lab.clock import Clock
from windlass.lab.controllers.access import Access, ApiError, Client, Resource
from windlass.lab.controllers.controller import Controller, Informers
from windlass.lab.controllers.objects import Key, Object, is_going, items
from windlass.lab.controllers.resources import CONFIG_MAPS, NAMESPACES, SERVICE_ACCOUNTS

_ROOT_CA = "kube-root-ca.crt"
_SYSTEM = ("default", "kube-system", "kube-public", "kube-node-lease")


class Namespaces:
    """The system's namespaces exist; each has its default account and the cluster's authority."""

    def __init__(self, client: Client, informers: Informers, clock: Clock, access: Access) -> None:
        self._client = client
        self._namespaces = informers[NAMESPACES]
        self._accounts = informers[SERVICE_ACCOUNTS]
        self._maps = informers[CONFIG_MAPS]
        authorities = access.ssl_context.get_ca_certs(binary_form=True)
        self._authority = "".join(ssl.DER_cert_to_PEM_cert(one) for one in authorities)
        self.controller = Controller("namespace", clock, self._reconcile)
        self.controller.follow(self._namespaces)
        for name in _SYSTEM:
            self.controller.enqueue(("", name))
        for informer in (self._accounts, self._maps):
            self.controller.follow(informer, _namespace_of_furniture)

    async def _reconcile(self, key: Key) -> float | None:
        _, name = key
        found = self._namespaces.items.get(key)
        if found is None:
            if name in _SYSTEM:
                body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
                await self._client.create_if_absent(NAMESPACES, body)
            return None
        if is_going(found):
            return await self._empty(found)
        await self._furnish(name)
        return None

    async def _furnish(self, name: str) -> None:
        for resource, informer, what, data in (
            (SERVICE_ACCOUNTS, self._accounts, "default", {}),
            (CONFIG_MAPS, self._maps, _ROOT_CA, {"data": {"ca.crt": self._authority}}),
        ):
            if informer.get(what, name) is None:
                meta = {"name": what, "namespace": name}
                body = {"apiVersion": "v1", "kind": resource.kind, "metadata": meta, **data}
                await self._client.create_if_absent(resource, body)

    async def _empty(self, found: Object) -> float | None:
        name = found["metadata"]["name"]
        left = 0
        for resource in await self._client.served({"list", "delete"}):
            if not resource.namespaced:
                continue
            documents = await self._listed(resource, name)
            left += len(documents)
            for document in documents:
                if not is_going(document):
                    await self._client.delete(resource.of(document), propagationPolicy="Background")
        if left:
            return 1.0
        if "kubernetes" in items(found, "spec", "finalizers"):
            kept = [one for one in items(found, "spec", "finalizers") if one != "kubernetes"]
            body = {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": found["metadata"],
                "spec": {"finalizers": kept},
            }
            await self._client.replace(NAMESPACES.of(found).sub("finalize"), body)
        return None

    async def _listed(self, resource: Resource, namespace: str) -> list[Object]:
        try:
            return await self._client.list(resource, namespace)
        except ApiError as error:
            # Its definition went a moment ago.
            if error.code in (404, 405):
                return []
            raise


def _namespace_of_furniture(document: Object) -> list[Key]:
    meta = document["metadata"]
    return [("", meta["namespace"])] if meta["name"] in (_ROOT_CA, "default") else []
