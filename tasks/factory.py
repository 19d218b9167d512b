"""Actions on the Talos image factory."""

from tasks.proxmox import site_schematic
from tasks.registry import SiteAction, action
from windlass.errors import NotReadyError, RefusedError
from windlass.models.plan import JsonObject
from windlass.talosconfig.schematic import canonical


@action("factory.schematic")
class RegisterSchematic(SiteAction):
    """The factory knows the site's schematic, and so has images of it. Safe to run again: an id is its content."""

    patience = "call"

    def goal(self) -> JsonObject:
        wanted = site_schematic(self.site)
        if not self.connect.factory().knows(wanted):
            raise NotReadyError(f"schematic {wanted[:12]} is not registered")
        return {"schematic": wanted}

    def preconditions(self) -> None:
        self.unchanged("schematic", site_schematic(self.site))

    def effect(self) -> JsonObject | None:
        wanted = self.site.cluster.schematic
        made = self.connect.factory().register(canonical(wanted.extensions, wanted.kernel_args))
        if made != site_schematic(self.site):
            raise RefusedError(
                f"the factory calls this schematic {made}, Windlass {site_schematic(self.site)}: "
                "it understands the extensions or kernel arguments in another way"
            )
        return {"schematic": made}
