"""The words that site files are made of: each type's error says what a right value looks like.

Text that reaches a URL, an argument list or another system's configuration is held to the narrow
form that system takes, so that nothing written in a site file is read as anything but a name.
"""

import re
from collections.abc import Iterable
from datetime import timedelta
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

Location = tuple[str | int, ...]

LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
HOST = rf"{LABEL}(\.{LABEL})*"
PORT = r"(:[0-9]{1,5})?"
URL_PATH = r"(/[A-Za-z0-9._~%+=@-]+)*/?"
LABEL_VALUE = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"

# Longer than any wait that makes sense for one call or one condition.
LONGEST = timedelta(days=7)
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?(?:ms|s|m|h|d))+")
DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
MULTICAST_BIT = 1

_iso_duration = TypeAdapter(timedelta)


class Spec(BaseModel):
    """Base for everything a human writes: immutable, and a typo is an error."""

    # Input is hidden because a secret written in the wrong place would show in a traceback.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def refuse(model: str, problems: Iterable[tuple[Location, str]]) -> None:
    """Raise one error that holds every problem, each at its own place; none, no error."""
    details = [
        InitErrorDetails(
            type=PydanticCustomError("windlass_rule", "{says}", {"says": says}),
            loc=place,
            input=None,
        )
        for place, says in problems
    ]
    if details:
        raise ValidationError.from_exception_data(model, details)


def wrong(says: str) -> PydanticCustomError:
    """The error for a value whose form is not right; `says` completes "the value ..."."""
    return PydanticCustomError("windlass_form", "{says}", {"says": says})


def like(pattern: str, says: str, *, longest: int = 253) -> AfterValidator:
    """Text that matches `pattern` whole."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if len(value) > longest:
            raise wrong(f"must not be longer than {longest} characters")
        if not compiled.fullmatch(value):
            raise wrong(says)
        return value

    return AfterValidator(check)


def _unicast(value: str) -> str:
    if int(value[:2], 16) & MULTICAST_BIT or not int(value.replace(":", ""), 16):
        raise wrong(
            "must be the address of one machine: its first byte is even, and not all is zero"
        )
    return value.lower()


def _clean_path(value: str) -> str:
    path = value.removeprefix("file:")
    if not path or not path.isprintable() or "://" in value or path.startswith("//"):
        raise wrong("must be a path, such as credentials/ca.pem")
    if ".." in PurePosixPath(path).parts:
        raise wrong("must not climb out with '..': write the absolute path")
    return value


def _in_repository(value: str) -> str:
    _clean_path(value)
    if value.startswith(("/", "~", "-", "file:")):
        raise wrong("must be a path inside the repository, such as k8s/infra/network/cilium")
    return value


def _secret_ref(value: str) -> str:
    scheme, _, rest = value.partition(":")
    if scheme in {"file", "sops"}:
        _clean_path("file:" + rest.partition("#")[0])
    fits = {"file": r".+", "env": r"[A-Za-z_][A-Za-z0-9_]*", "sops": r"[^#]+#[A-Za-z0-9_.-]+"}
    if not re.fullmatch(fits.get(scheme, r"(?!)"), rest):
        raise wrong("must name the secret, never hold it: file:PATH, env:NAME or sops:FILE#key")
    return value


def _duration(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise wrong("must be a duration, such as 500ms, 30s, 5m or 1h30m")
    length = _length(value)
    if not timedelta(0) <= length <= LONGEST:
        raise wrong(f"must be a duration from 0s to {LONGEST.days}d")
    return length


def _length(value: float | str) -> timedelta:
    if isinstance(value, int | float):
        # Compared before it becomes a timedelta, which cannot hold every number.
        return timedelta(seconds=min(max(value, -1), LONGEST.total_seconds() + 1))
    if len(value) < LONGEST.days * 10 and DURATION.fullmatch(value):
        parts = DURATION_PART.findall(value)
        return _length(sum(float(number) * UNITS[unit] for number, unit in parts))
    try:
        return _iso_duration.validate_python(value)
    except ValidationError as error:
        raise wrong("must be a duration, such as 500ms, 30s, 5m or 1h30m") from error


def _address(value: Any) -> Any:
    try:
        IPv4Address(str(value))
    except AddressValueError as error:
        raise wrong("must be an IPv4 address, such as 10.0.0.11") from error
    return value


def _network(value: Any) -> Any:
    try:
        IPv4Network(str(value))
    except ValueError as error:
        says = "must be a network with its prefix and no host bits, such as 10.0.0.0/24"
        raise wrong(says) from error
    return value


Address = Annotated[IPv4Address, BeforeValidator(_address)]
Network = Annotated[IPv4Network, BeforeValidator(_network)]

Name = Annotated[
    str,
    like(
        LABEL, "must be a name of lower-case letters, digits and dashes, such as cp-1", longest=63
    ),
]
HostName = Annotated[
    str, like(HOST, "must be a host name or address in lower case, such as api.example.org")
]
VolumeName = Annotated[
    str,
    like(
        LABEL, "must be a name of lower-case letters, digits and dashes, such as data", longest=34
    ),
]
PveHost = Annotated[
    str,
    like(
        r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?",
        "must be the name of a Proxmox host, such as pve1",
    ),
]
PveStorage = Annotated[
    str,
    like(
        r"[A-Za-z][A-Za-z0-9._-]*[A-Za-z0-9]",
        "must be the name of a Proxmox storage, such as local-lvm",
    ),
]
PveBridge = Annotated[
    str,
    like(
        r"[A-Za-z][A-Za-z0-9_.-]*",
        "must be the name of a Proxmox bridge, such as vmbr0",
        longest=15,
    ),
]
PvePool = Annotated[
    str, like(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*", "must be the name of a Proxmox pool")
]
PveMapping = Annotated[
    str, like(r"[A-Za-z][A-Za-z0-9_-]+", "must be the name of a Proxmox PCI mapping, such as gpu-1")
]
TokenId = Annotated[
    str,
    like(
        r"[A-Za-z0-9._+-]+@[A-Za-z][A-Za-z0-9._-]*![A-Za-z][A-Za-z0-9._-]+",
        "must be USER@REALM!TOKEN, such as windlass@pve!windlass",
    ),
]
Fingerprint = Annotated[
    str,
    like(
        r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){31}",
        "must be the SHA-256 of a certificate: 32 pairs of hex digits with colons",
    ),
]
Sha256 = Annotated[str, like(r"[0-9a-f]{64}", "must be a SHA-256: 64 hex digits in lower case")]
Mac = Annotated[
    str,
    like(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}", "must be a MAC address, such as bc:24:11:00:00:01"),
    AfterValidator(_unicast),
]
TalosVersion = Annotated[
    str,
    like(
        r"v[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}", "must be a released Talos version, such as v1.13.9"
    ),
]
KubernetesVersion = Annotated[
    str,
    like(
        r"v[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}",
        "must be a released Kubernetes version, such as v1.36.1",
    ),
]
HttpsUrl = Annotated[
    str,
    like(rf"https://{HOST}{PORT}{URL_PATH}", "must be an https URL, such as https://example.org"),
]
Endpoint = Annotated[
    str,
    like(
        rf"https://{HOST}{PORT}/?", "must be an https URL without a path, such as https://pve1:8006"
    ),
]
GitUrl = Annotated[
    str,
    like(
        rf"https?://{HOST}{PORT}{URL_PATH}|ssh://([a-z0-9_-]+@)?{HOST}{PORT}{URL_PATH}"
        rf"|[a-z0-9_-]+@{HOST}:[A-Za-z0-9._~/-]+|(file://)?/[^\0-\x1f]*",
        "must be a Git repository, such as https://example.org/owner/repo.git",
        longest=1024,
    ),
]
GitRevision = Annotated[
    str,
    like(
        r"(?!.*(\.\.|//|\.lock$|/$|\.$))[A-Za-z0-9][A-Za-z0-9._/+-]*",
        "must be a branch, tag or commit, such as main",
    ),
]
Extension = Annotated[
    str,
    like(
        r"[a-z0-9-]+/[a-z0-9._-]+",
        "must be a Talos system extension, such as siderolabs/qemu-guest-agent",
    ),
]
KernelArgument = Annotated[
    str, like(r"[!-~]+", "must be one kernel argument without spaces, such as console=ttyS0")
]
KernelModule = Annotated[
    str, like(r"[A-Za-z0-9][A-Za-z0-9_-]*", "must be the name of a kernel module, such as nvidia")
]
ImageRef = Annotated[
    str,
    like(
        rf"({HOST}{PORT}/)?[a-z0-9._/-]+(:[A-Za-z0-9_][A-Za-z0-9._-]*)?(@sha256:[0-9a-f]{{64}})?",
        "must be a container image, such as registry.k8s.io/pause:3.10",
    ),
]
AppName = Annotated[
    str, like(HOST, "must be the name of an Argo CD Application, such as infra-network")
]
StorageClass = Annotated[str, like(HOST, "must be the name of a StorageClass, such as proxmox-csi")]
LabelKey = Annotated[
    str,
    like(rf"({HOST}/)?{LABEL_VALUE}", "must be a label key, such as example.org/rack", longest=317),
]
LabelValue = Annotated[
    str, like(rf"({LABEL_VALUE})?", "must be a label value: letters, digits, '-', '_' and '.'")
]
Taint = Annotated[
    str,
    like(
        rf"(({LABEL_VALUE})?:)?(NoSchedule|PreferNoSchedule|NoExecute)",
        "must be VALUE:EFFECT, such as true:NoSchedule",
    ),
]
Place = Annotated[
    str, like(rf"{HOST}{PORT}", "must be HOST or HOST:PORT, such as 10.0.0.11:50000", longest=260)
]
FilePath = Annotated[str, AfterValidator(_clean_path)]
SecretFile = Annotated[
    str, like(r"file:.+", "must be file:PATH", longest=4096), AfterValidator(_clean_path)
]
RepoPath = Annotated[str, AfterValidator(_in_repository)]
SecretRef = Annotated[str, AfterValidator(_secret_ref)]
Duration = Annotated[timedelta, BeforeValidator(_duration)]
VmId = Annotated[int, Field(ge=100, le=999_999_999)]
