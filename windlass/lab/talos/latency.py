"""How long things take on a simulated machine, in lab seconds. One table, so that a forecast can be compared with it.

The values sit in the middle of what real machines were estimated to take.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Latency:
    """Lab seconds."""

    firmware: float = 6
    # From the boot loader to the API in maintenance mode, or to the first service.
    boot: float = 12
    # From the answer of apply-config to the start of the installer.
    config_acquired: float = 1
    image_pull: float = 12
    install: float = 35
    # kexec keeps the firmware out of it.
    stop_services: float = 4
    kexec: float = 10
    apid: float = 3
    cri: float = 2
    # The server certificate of a worker's API comes from a control plane's trustd; asked for this often.
    trustd_retry: float = 2
    kubelet: float = 6
    etcd_start: float = 12
    etcd_health: float = 5
    etcd_join_retry: float = 3
    etcd_learner: float = 10
    apiserver: float = 15
    vip_failover: float = 4
    api_dial_timeout: float = 20
    leave: float = 3


LATENCY = Latency()
