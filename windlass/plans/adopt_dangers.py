"""What would go wrong if somebody ran `tofu apply` in an adopted folder now, or trusted all it says."""

from collections.abc import Iterator

from windlass.models.versions import minor, unsupported_pair
from windlass.plans.adopt_tofu import Adopted, TofuNode


def dangers(adopted: Adopted) -> Iterator[str]:
    """One sentence each: what, where, and why it matters."""
    yield from _armed(adopted)
    yield from _commented(adopted)
    yield from _skew(adopted)
    yield from _pairs(adopted)
    yield from _doubled(adopted)
    yield from _dropped(adopted)
    yield from _sizes(adopted)
    yield from _one_host(adopted)


def _armed(adopted: Adopted) -> Iterator[str]:
    armed = [node for node in adopted.nodes if node.armed]
    if not armed:
        return
    flag = armed[0].flag
    moves = {adopted.effective(node) for node in armed} - {(adopted.talos, adopted.kubernetes)}
    if not moves:
        yield f"{flag} = true is left over on {_names(armed)}: target and base are the same version"
        return
    talos, kubernetes = next(iter(moves))
    target = f"Talos {talos}" + (f" and Kubernetes {kubernetes}" if kubernetes else "")
    together = f" all {len(armed)} at once" if len(armed) > 1 else ""
    yield (
        f"{flag} = true is armed on {_names(armed)}: the next `tofu apply` replaces{together} "
        f"with {target}, without a drain or an etcd snapshot"
    )


def _commented(adopted: Adopted) -> Iterator[str]:
    for flag in adopted.folder.commented_flags:
        yield f"{flag.file}:{flag.line}: `{flag.text}` is commented out: one character arms it"


def _skew(adopted: Adopted) -> Iterator[str]:
    planes = [node for node in adopted.nodes if node.role == "controlplane"]
    servers = [kubernetes for node in planes if (kubernetes := _kubernetes(adopted, node))]
    for node in adopted.nodes:
        kubelet = _kubernetes(adopted, node)
        if not servers or not kubelet or node.role == "controlplane":
            continue
        oldest = min(servers, key=minor)
        if minor(kubelet) > minor(oldest):
            yield f"skew: {node.name} gets kubelet {kubelet}, newer than API server {oldest}: not supported"


def _kubernetes(adopted: Adopted, node: TofuNode) -> str | None:
    version = adopted.effective(node)[1]
    return version if version and _is_version(version) else None


def _pairs(adopted: Adopted) -> Iterator[str]:
    pairs = {
        "now": (adopted.talos, adopted.kubernetes),
        "the target": (adopted.talos_target, adopted.kubernetes_target),
    }
    for what, (talos, kubernetes) in pairs.items():
        if not (talos and kubernetes and _is_version(talos) and _is_version(kubernetes)):
            continue
        if why := unsupported_pair(talos, kubernetes):
            yield f"versions, {what}: {why}"


def _is_version(version: str) -> bool:
    parts = version.removeprefix("v").split(".")
    return len(parts) == 3 and all(part.isdigit() for part in parts)  # noqa: PLR2004 - major, minor, patch


def _doubled(adopted: Adopted) -> Iterator[str]:
    for name, given in adopted.folder.assignments.items():
        if len(given) < 2:  # noqa: PLR2004 - once is as it should be
            continue
        same = all(one.value == given[-1].value for one in given)
        files = " and ".join(one.file for one in given)
        agree = "they agree today" if same else "they DISAGREE"
        yield f"{name} is set in {files}: {given[-1].file} wins as a whole; {agree}"


def _dropped(adopted: Adopted) -> Iterator[str]:
    if not adopted.declared:
        return
    for key in sorted({key for node in adopted.nodes for key in node.written} - adopted.declared):
        holders = [node for node in adopted.nodes if key in node.written]
        yield f"{key} of {_names(holders)} is dropped: the variable's type does not declare it"


def _sizes(adopted: Adopted) -> Iterator[str]:
    inside = [node for node in adopted.nodes if not node.external]
    absent = [node for node in inside if node.get("ram_dedicated") is None]
    if absent:
        yield f"memory of {_names(absent)} is absent: it depends on defaults that are not in this folder"
        return
    sizes = [size for node in inside if isinstance(size := node.get("ram_dedicated"), int)]
    yield f"the VMs ask for {sum(sizes)} MiB together: see that their hosts have it"


def _one_host(adopted: Adopted) -> Iterator[str]:
    planes = [node for node in adopted.nodes if node.role == "controlplane" and not node.external]
    hosts = {node.get("host_node") for node in planes}
    if len(planes) > 1 and len(hosts) == 1:
        host = next(iter(hosts)) or "one default host"
        yield f"all control planes are on {host}: etcd ends with it"


def _names(nodes: list[TofuNode]) -> str:
    return ", ".join(node.name for node in nodes)
