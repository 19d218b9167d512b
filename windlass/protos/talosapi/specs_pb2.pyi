from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PrintColumn(_message.Message):
    __slots__ = ("name", "json_path")
    NAME_FIELD_NUMBER: _ClassVar[int]
    JSON_PATH_FIELD_NUMBER: _ClassVar[int]
    name: str
    json_path: str
    def __init__(self, name: _Optional[str] = ..., json_path: _Optional[str] = ...) -> None: ...

class ResourceDefinition(_message.Message):
    __slots__ = ("type", "display_type", "default_namespace", "aliases", "all_aliases", "print_columns", "sensitivity")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_TYPE_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    ALL_ALIASES_FIELD_NUMBER: _ClassVar[int]
    PRINT_COLUMNS_FIELD_NUMBER: _ClassVar[int]
    SENSITIVITY_FIELD_NUMBER: _ClassVar[int]
    type: str
    display_type: str
    default_namespace: str
    aliases: _containers.RepeatedScalarFieldContainer[str]
    all_aliases: _containers.RepeatedScalarFieldContainer[str]
    print_columns: _containers.RepeatedCompositeFieldContainer[PrintColumn]
    sensitivity: int
    def __init__(self, type: _Optional[str] = ..., display_type: _Optional[str] = ..., default_namespace: _Optional[str] = ..., aliases: _Optional[_Iterable[str]] = ..., all_aliases: _Optional[_Iterable[str]] = ..., print_columns: _Optional[_Iterable[_Union[PrintColumn, _Mapping]]] = ..., sensitivity: _Optional[int] = ...) -> None: ...

class UnmetCondition(_message.Message):
    __slots__ = ("name", "reason")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    reason: str
    def __init__(self, name: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class Readiness(_message.Message):
    __slots__ = ("ready", "unmet_conditions")
    READY_FIELD_NUMBER: _ClassVar[int]
    UNMET_CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    ready: bool
    unmet_conditions: _containers.RepeatedCompositeFieldContainer[UnmetCondition]
    def __init__(self, ready: _Optional[bool] = ..., unmet_conditions: _Optional[_Iterable[_Union[UnmetCondition, _Mapping]]] = ...) -> None: ...

class MachineStatus(_message.Message):
    __slots__ = ("stage", "status")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    stage: int
    status: Readiness
    def __init__(self, stage: _Optional[int] = ..., status: _Optional[_Union[Readiness, _Mapping]] = ...) -> None: ...

class Address(_message.Message):
    __slots__ = ("ip",)
    IP_FIELD_NUMBER: _ClassVar[int]
    ip: bytes
    def __init__(self, ip: _Optional[bytes] = ...) -> None: ...

class ControlPlane(_message.Message):
    __slots__ = ("port",)
    PORT_FIELD_NUMBER: _ClassVar[int]
    port: int
    def __init__(self, port: _Optional[int] = ...) -> None: ...

class Member(_message.Message):
    __slots__ = ("node_id", "addresses", "hostname", "machine_type", "operating_system", "control_plane")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    HOSTNAME_FIELD_NUMBER: _ClassVar[int]
    MACHINE_TYPE_FIELD_NUMBER: _ClassVar[int]
    OPERATING_SYSTEM_FIELD_NUMBER: _ClassVar[int]
    CONTROL_PLANE_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    addresses: _containers.RepeatedCompositeFieldContainer[Address]
    hostname: str
    machine_type: int
    operating_system: str
    control_plane: ControlPlane
    def __init__(self, node_id: _Optional[str] = ..., addresses: _Optional[_Iterable[_Union[Address, _Mapping]]] = ..., hostname: _Optional[str] = ..., machine_type: _Optional[int] = ..., operating_system: _Optional[str] = ..., control_plane: _Optional[_Union[ControlPlane, _Mapping]] = ...) -> None: ...

class Nodename(_message.Message):
    __slots__ = ("nodename", "hostname_version", "skip_node_registration")
    NODENAME_FIELD_NUMBER: _ClassVar[int]
    HOSTNAME_VERSION_FIELD_NUMBER: _ClassVar[int]
    SKIP_NODE_REGISTRATION_FIELD_NUMBER: _ClassVar[int]
    nodename: str
    hostname_version: str
    skip_node_registration: bool
    def __init__(self, nodename: _Optional[str] = ..., hostname_version: _Optional[str] = ..., skip_node_registration: _Optional[bool] = ...) -> None: ...

class MachineConfig(_message.Message):
    __slots__ = ("yaml",)
    YAML_FIELD_NUMBER: _ClassVar[int]
    yaml: bytes
    def __init__(self, yaml: _Optional[bytes] = ...) -> None: ...

class VolumeStatus(_message.Message):
    __slots__ = ("phase", "location", "size")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    LOCATION_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    phase: int
    location: str
    size: int
    def __init__(self, phase: _Optional[int] = ..., location: _Optional[str] = ..., size: _Optional[int] = ...) -> None: ...

class Diagnostic(_message.Message):
    __slots__ = ("message", "details")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    message: str
    details: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, message: _Optional[str] = ..., details: _Optional[_Iterable[str]] = ...) -> None: ...

class BootstrapManifests(_message.Message):
    __slots__ = ("proxy_enabled", "coredns_enabled", "cni_name")
    PROXY_ENABLED_FIELD_NUMBER: _ClassVar[int]
    COREDNS_ENABLED_FIELD_NUMBER: _ClassVar[int]
    CNI_NAME_FIELD_NUMBER: _ClassVar[int]
    proxy_enabled: bool
    coredns_enabled: bool
    cni_name: str
    def __init__(self, proxy_enabled: _Optional[bool] = ..., coredns_enabled: _Optional[bool] = ..., cni_name: _Optional[str] = ...) -> None: ...

class Pod(_message.Message):
    __slots__ = ("pod",)
    POD_FIELD_NUMBER: _ClassVar[int]
    pod: _struct_pb2.Struct
    def __init__(self, pod: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class Manifest(_message.Message):
    __slots__ = ("items",)
    class Item(_message.Message):
        __slots__ = ("object",)
        OBJECT_FIELD_NUMBER: _ClassVar[int]
        object: _struct_pb2.Struct
        def __init__(self, object: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Manifest.Item]
    def __init__(self, items: _Optional[_Iterable[_Union[Manifest.Item, _Mapping]]] = ...) -> None: ...

class APIServer(_message.Message):
    __slots__ = ("image",)
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    image: str
    def __init__(self, image: _Optional[str] = ...) -> None: ...

class Component(_message.Message):
    __slots__ = ("enabled", "image")
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    enabled: bool
    image: str
    def __init__(self, enabled: _Optional[bool] = ..., image: _Optional[str] = ...) -> None: ...

class Kubelet(_message.Message):
    __slots__ = ("image", "args")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    ARGS_FIELD_NUMBER: _ClassVar[int]
    image: str
    args: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, image: _Optional[str] = ..., args: _Optional[_Iterable[str]] = ...) -> None: ...

class Service(_message.Message):
    __slots__ = ("running", "healthy", "unknown")
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    HEALTHY_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    running: bool
    healthy: bool
    unknown: bool
    def __init__(self, running: _Optional[bool] = ..., healthy: _Optional[bool] = ..., unknown: _Optional[bool] = ...) -> None: ...
