"""The site as a whole: is it still fit for what the plan is about to do."""

from tasks.observe import observe_site
from tasks.registry import SiteAction, action
from windlass.errors import PreflightError
from windlass.models.plan import JsonObject
from windlass.plans.preflight import blocks_of, is_ours


@action("site.preflight")
class Preflight(SiteAction):
    """Gate: nothing forbids the plan at the moment it starts. The same checks as at planning, on a fresh look."""

    patience = "probe"

    def goal(self) -> JsonObject:
        observed = observe_site(self.loaded, self.agent)
        create = [
            node
            for node in self.site.nodes
            if not any(
                vm.vmid == node.vmid and is_ours(self.site, node, vm) for vm in observed.proxmox.vms
            )
            and observed.machines[node.name].state != "configured"
        ]
        if blocks := blocks_of(self.site, observed, create):
            raise PreflightError("; ".join(f"{block.what} ({block.remedy})" for block in blocks))
        return {"hosts": [*sorted(observed.proxmox.hosts)], "image_bytes": observed.image.size}
