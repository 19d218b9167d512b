"""Named formats of parameters, each with what Proxmox VE says of a value that does not match."""

from dataclasses import dataclass

_NAME = r"[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?"
_USER, _REALM = r"[^\s:/]+", r"[A-Za-z][A-Za-z0-9._-]+"
_MAIL = r"[\w+~-]+(\.[\w+~-]+)*"
_PCI = r"[a-f0-9]{4,}:[a-f0-9]{2}:[a-f0-9]{2}(?:.[a-f0-9])?"
_VERSION = r"\d+(\.\d+)+(\+pve\d+)?(\.pxe)?"
_SET = r"\d+(?:-\d+)?"


@dataclass(frozen=True)
class Format:
    """A pattern, and what is said of a value that does not match; without words it is told by its pattern only."""

    pattern: str
    says: str = ""
    kind: str = "string"
    minimum: int | None = None
    maximum: int | None = None

    def problem(self, value: str) -> str:
        if not self.says:
            return "value does not match the regex pattern"
        return f"invalid format - {self.says.format(value)}"


FORMATS = {
    "vmid": Format(r"[1-9][0-9]{2,8}", "value does not look like a valid VM ID", "integer", 100, 999_999_999),
    "node": Format(_NAME, "value does not look like a valid node name"),
    "storage": Format(r"[a-zA-Z][a-zA-Z0-9_.-]*[a-zA-Z0-9]", "storage ID '{0}' contains illegal characters"),
    "config-id": Format(r"[a-zA-Z][a-zA-Z0-9_-]+", "invalid configuration ID '{0}'"),
    "snapname": Format(r"[a-zA-Z][a-zA-Z0-9_-]{1,39}", "invalid configuration ID '{0}'"),
    "dns-name": Format(rf"({_NAME})(\.{_NAME})*", "value does not look like a valid DNS name"),
    "address": Format(r"[0-9a-fA-F.:]+", "value does not look like a valid IP address"),
    "email": Format(rf"{_MAIL}@[a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)*", "value does not look like a valid email address"),
    "realm": Format(_REALM, "value does not look like a valid realm"),
    "userid": Format(rf"{_USER}@{_REALM}", "value '{0}' does not look like a valid user name"),
    "user-or-token": Format(rf"{_USER}@{_REALM}(!{_REALM})?"),
    "full-tokenid": Format(rf"{_USER}@{_REALM}!{_REALM}", "value '{0}' does not look like a valid token ID"),
    "tokenid": Format(_REALM),
    "second-factors": Format(r"[0-9a-zA-Z!=]{0,4096}"),
    "groupid": Format(r"[A-Za-z0-9._-]+", "group name '{0}' contains invalid characters"),
    "roleid": Format(r"[A-Za-z0-9._-]+", "role name '{0}' contains invalid characters"),
    "poolid": Format(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+){0,2}", "pool name '{0}' contains invalid characters"),
    "upid": Format(r"\S+", "unable to parse worker upid"),
    "url": Format(r"(?i:https?)://.*"),
    "disk-size": Format(r"\+?\d+(\.\d+)?[KMGT]?"),
    "volume-id": Format(r"[a-zA-Z][a-zA-Z0-9_.-]*[a-zA-Z0-9]:.+", "unable to parse volume ID '{0}'"),
    "mac": Format(r"[0-9a-fA-F][02468aceACE][:](?:[0-9a-fA-F]{2}:){4}[0-9a-fA-F]{2}",
                  "value does not look like a valid unicast MAC address"),
    "tag": Format(r"[a-zA-Z0-9_][a-zA-Z0-9_\-+.]*", "invalid characters in tag"),
    "boot-disk": Format(r"(ide|sata|scsi|virtio)\d+", "invalid boot disk '{0}'"),
    "machine": Format(rf"pc|q35|pc(-i440fx)?-{_VERSION}|pc-q35-{_VERSION}|virt(-\d+(\.\d+)+)?(\+pve\d+)?"),
    "number-set": Format(rf"{_SET}(?:;{_SET})*"),
    # The alternatives of a pattern are not grouped: each end is bound on one side only.
    "parallel": Format(r"/dev/parport\d+.*|.*/dev/usb/lp\d+"),
    "serial": Format(r"/dev/[^,]+|socket"),
    "start-date": Format(r"now|\d{4}-\d{1,2}-\d{1,2}(T\d{1,2}:\d{1,2}:\d{1,2})?"),
    "generation-id": Format(r"[a-fA-F0-9]{8}(-[a-fA-F0-9]{4}){3}-[a-fA-F0-9]{12}|[01]"),
    "usb-device": Format(r"(0x)?[0-9A-Fa-f]{4}:(0x)?[0-9A-Fa-f]{4}|\d+-\d+(\.\d+)*|[Ss][Pp][Ii][Cc][Ee]"),
    "memory-name": Format(r"[a-zA-Z0-9-]+"),
    "mtus": Format(r"net\d+=\d+(,net\d+=\d+)*"),
    "pci-id": Format(r"[0-9A-Fa-f]{4}:[0-9A-Fa-f]{4}"),
    "pci-path": Format(rf"(?:{_PCI};)*{_PCI}"),
}  # fmt: skip
