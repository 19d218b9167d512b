"""A small site file as text, for tests that break one thing in it."""

BASE = """\
name: home
cluster:
  name: home
  endpoint: api.k8s.example.org
  network: 192.0.2.0/24
  gateway: 192.0.2.1
  nameservers: [192.0.2.1]
  vip: 192.0.2.10
  talos: v1.13.9
  kubernetes: v1.36.3
  secrets: file:secrets.yaml
proxmox:
  endpoints: [https://pve1.example.org:8006]
  token_id: windlass@pve!windlass
  token_secret: file:token
  ca_file: ca.pem
  storage: local-lvm
  image_storage: local
nodes:
  - name: cp-1
    role: controlplane
    host: pve1
    address: 192.0.2.11
    vmid: 101
    mac: "bc:24:11:00:00:01"
    cpu: 4
    memory: 4096
  - name: w-1
    role: worker
    host: pve1
    address: 192.0.2.21
    vmid: 201
    mac: "bc:24:11:00:00:02"
    cpu: 4
    memory: 4096
    disk: 60
gitops:
  repo: https://git.example.org/owner/repo.git
  argocd: k8s/argocd
  layers:
    - name: core
      apps: [network]
    - name: apps
      apps: [media]
"""


def changed(old: str, new: str) -> str:
    """BASE with the first `old` replaced; a test that changes nothing proves nothing."""
    assert old in BASE, old
    return BASE.replace(old, new, 1)
