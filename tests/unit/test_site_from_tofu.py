"""A site file from an OpenTofu folder: what is known is kept, what is not is marked, what is dangerous is named."""

import json
import os
from pathlib import Path

import pytest
import yaml

from tests.peers import missing
from windlass.cli import main
from windlass.cli.exits import BAD_INPUT, DONE
from windlass.clients.git_tree import read_git_tree
from windlass.clients.tofu import read_tofu_folder
from windlass.errors import BadInputError
from windlass.models.document import read_document
from windlass.models.load import load_site
from windlass.plans.adopt_site import Adoption, adopt_tofu

NAMED = "WINDLASS_REFERENCE_DATA"
DATA = Path(os.environ.get(NAMED, Path(__file__).parents[3] / "shared/data"))
REAL = DATA / "reference-homelab/today/tofu"

CONFIG = """\
cluster_name          = "attic"
cluster_domain        = "cluster.local"
proxmox_cluster       = "pve1"
external_api_endpoint = "api.attic.example.org"

network = {
  gateway     = "192.0.2.1"
  vip         = "192.0.2.10"
  api_lb_vip  = "192.0.2.9"
  cidr_prefix = 24
  dns_servers = ["192.0.2.1"]
  bridge      = "vmbr1"
  vlan_id     = 7
}

versions = {
  talos      = "v1.12.5"
  kubernetes = "1.35.2"
}

talos_image = {
  update_version = "v1.13.2" # renovate: github-releases=siderolabs/talos
}

kubernetes_image = {
  update_version = "1.36.1"
}
"""
NODES = """\
nodes_config = {
  "cp-a" = {
    machine_type  = "controlplane"
    ip            = "192.0.2.11"
    mac_address   = "bc:24:11:00:00:11"
    startup_order = 3
    vm_id         = 501
    upgrade       = false
  }
  "w-a" = {
    machine_type   = "worker"
    ip             = "192.0.2.21"
    mac_address    = "bc:24:11:00:00:21"
    vm_id          = 521
    root_disk_size = 60
    datastore_id   = "tank"
    upgrade        = true
  }
  "w-b" = {
    machine_type  = "worker"
    ip            = "192.0.2.22"
    mac_address   = "bc:24:11:00:00:22"
    vm_id         = 522
    igpu          = true
    gpu_devices   = ["0000:03:00.0", "0000:03:00.1"]
    upgrade       = true
  }
  "iron" = {
    machine_type = "worker"
    ip           = "192.0.2.30"
    is_external  = true
  }
  # "w-c" = {
  #   machine_type = "worker"
  #   ip           = "192.0.2.23"
  # }
}
"""
IMAGE = """\
talos_image = {
  update_version = "v1.13.2"
}
"""
DEFAULTS = """\
variable "defaults_worker" {
  type = object({ cpu = number, ram_dedicated = number })
  default = {
    cpu           = 8
    ram_dedicated = 16384
  }
}
variable "defaults_controlplane" {
  type = object({ cpu = number, ram_dedicated = number })
  default = {
    cpu           = 6
    ram_dedicated = 8192
  }
}
variable "nodes_config" {
  type = map(object({
    machine_type   = string
    ip             = string
    mac_address    = optional(string)
    vm_id          = optional(number)
    is_external    = optional(bool, false)
    root_disk_size = optional(number)
    datastore_id   = optional(string)
    igpu           = optional(bool)
    gpu_devices    = optional(list(string), [])
    disks          = optional(map(object({ startup_order = string })))
    upgrade        = optional(bool, false)
  }))
}
"""
SEED = """\
module "talos" {
  source = "./talos"

  image = {
    version = "v1.9.4"
    update_version = "v1.9.5" # renovate: github-releases=siderolabs/talos
    schematic = file("${path.module}/talos/image/schematic.yaml")
  }

  cilium = {
    values = file("${path.module}/../../k8s/infra/network/cilium/values.yaml")
  }

  cluster = {
    name            = "barn"
    endpoint        = "api.barn.example.org"
    gateway         = "198.51.100.1"
    talos_version   = "v1.9.4"
    proxmox_cluster = "barn"
  }

  nodes = {
    "cp-a" = {
      host_node     = "pve1"
      machine_type  = "controlplane"
      ip            = "198.51.100.11"
      mac_address   = "bc:24:11:00:01:11"
      vm_id         = 601
      cpu           = 4
      ram_dedicated = 2480
      #update        = true
    }
        "w-a" = {
          host_node     = "pve2"
          machine_type  = "worker"
          ip            = "198.51.100.21"
          mac_address   = "bc:24:11:00:01:21"
          vm_id         = 621
          cpu           = 4
          ram_dedicated = 2480
        }
  }
}

module "volumes" {
  source  = "./volumes"
  volumes = { pv-one = { node = "pve1", size = "4G" } }
}
"""


SCHEMATIC = """\
customization:
  systemExtensions:
    officialExtensions:
      - siderolabs/iscsi-tools
%{ if gpu }
      - siderolabs/nvidia-container-toolkit-production
%{ endif }
"""


def root_set(name: str, folder: str) -> str:
    return f"""\
kind: ApplicationSet
metadata: {{name: root}}
spec:
  generators:
    - git:
        repoURL: https://git.example.org/owner/repo.git
        revision: stable
        directories: [{{path: "{folder}"}}]
  template:
    metadata: {{name: '{name}'}}
"""


def folder_of(root: Path, files: dict[str, str]) -> Path:
    folder = root / "tofu"
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def today(tmp_path: Path) -> Path:
    files = {"config": CONFIG, "nodes": NODES, "talos_image": IMAGE}
    return folder_of(tmp_path, {f"{name}.auto.tfvars": text for name, text in files.items()})


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    return folder_of(tmp_path, {"main.tf": SEED, "talos/image/schematic.yaml.tftpl": SCHEMATIC})


def adopted(folder: Path) -> Adoption:
    return adopt_tofu(read_tofu_folder(folder), "attic")


def test_what_the_variables_say_is_kept(today: Path, tmp_path: Path):
    path = tmp_path / "site.yaml"
    path.write_text(
        adopt_tofu(read_tofu_folder(today), "attic", {"controlplane": 4096, "worker": 8192}).text
    )

    site = load_site(path).site

    assert (site.cluster.talos, site.cluster.kubernetes) == ("v1.12.5", "v1.35.2")
    assert str(site.cluster.network) == "192.0.2.0/24"
    assert (site.proxmox.bridge, site.proxmox.vlan) == ("vmbr1", 7)
    assert [node.name for node in site.nodes] == ["cp-a", "w-a", "w-b"]
    assert (site.node("w-a").disk, site.node("w-a").storage, site.node("w-a").memory) == (
        60,
        "tank",
        8192,
    )
    assert site.node("w-b").gpus == ("gpu-w-b-0", "gpu-w-b-1")
    assert site.node("w-b").taints == {"gpu": "true:NoSchedule"}


def test_absent_memory_is_marked_and_keeps_the_file_from_loading(today: Path, tmp_path: Path):
    adoption = adopted(today)
    path = tmp_path / "site.yaml"
    path.write_text(adoption.text)

    with pytest.raises(BadInputError, match=r"nodes\[0\].memory: is empty: fill it in"):
        load_site(path)

    gaps = {gap.key: gap for gap in adoption.gaps}
    marked = path.read_text().splitlines()[gaps["nodes[0].memory"].line - 1]
    assert marked.strip().startswith("memory:  # UNKNOWN: MiB of cp-a")
    assert gaps["nodes[0].memory"].stand_in is None


def test_the_dangers_are_named(today: Path):
    said = "\n".join(adopted(today).dangers)

    assert (
        "upgrade = true is armed on w-a, w-b: the next `tofu apply` replaces all 2 at once" in said
    )
    assert "with Talos v1.13.2 and Kubernetes v1.36.1" in said
    assert "skew: w-a gets kubelet v1.36.1, newer than API server v1.35.2" in said
    assert "talos_image is set in config.auto.tfvars and talos_image.auto.tfvars" in said
    assert "memory of cp-a, w-a, w-b is absent" in said


def test_the_last_file_wins_as_a_whole(today: Path):
    (today / "zz.auto.tfvars").write_text('versions = {\n  talos = "v1.13.2"\n}\n')

    adoption = adopted(today)

    assert "talos: v1.13.2" in adoption.text
    assert "kubernetes:  # UNKNOWN" in adoption.text
    assert any("zz.auto.tfvars wins as a whole; they DISAGREE" in said for said in adoption.dangers)


def test_sizes_come_from_the_defaults_of_the_variables(today: Path, tmp_path: Path):
    (today / "defaults.tf").write_text(DEFAULTS)
    path = tmp_path / "site.yaml"

    adoption = adopted(today)
    path.write_text(adoption.text)

    assert [node.memory for node in load_site(path).site.nodes] == [8192, 16384, 16384]
    assert "the VMs ask for 40960 MiB together: see that their hosts have it" in adoption.dangers


def test_an_attribute_that_no_type_declares_is_named_as_dropped(today: Path):
    (today / "variables.tf").write_text(DEFAULTS)

    said = adopted(today).dangers

    assert "startup_order of cp-a is dropped: the variable's type does not declare it" in said
    assert not any(one.startswith("root_disk_size") for one in said)


def test_what_has_no_place_in_a_site_file_is_left_behind_by_name(today: Path):
    said = adopted(today).left_behind

    assert any("iron" in one for one in said)
    assert "api_lb_vip 192.0.2.9: the vip alone answers for the API; keep the address free" in said
    assert any(one.startswith("startup_order of cp-a") for one in said)


def test_an_armed_flag_whose_target_is_the_base_is_called_left_over(today: Path):
    (today / "zz.auto.tfvars").write_text(
        'talos_image = { update_version = "v1.12.5" }\nkubernetes_image = { update_version = "1.35.2" }\n'
    )

    assert any("left over on w-a, w-b" in said for said in adopted(today).dangers)


def test_nodes_inside_a_module_are_read_with_their_sizes(seed: Path, tmp_path: Path):
    adoption = adopted(seed)
    path = tmp_path / "site.yaml"
    path.write_text(adoption.text.replace("kubernetes:", "kubernetes: v1.32.1"))

    site = load_site(path).site

    assert [(node.name, node.host, node.cpu, node.memory) for node in site.nodes] == [
        ("cp-a", "pve1", 4, 2480),
        ("w-a", "pve2", 4, 2480),
    ]
    assert site.cluster.schematic.extensions == ("siderolabs/iscsi-tools",)
    assert (site.cluster.cni, site.cluster.kube_proxy) == ("none", False)
    assert {"cluster.kubernetes", "cluster.network"} <= {gap.key for gap in adoption.gaps}


def test_a_flag_that_is_commented_out_is_named_with_its_line(seed: Path):
    line = SEED.splitlines().index("      #update        = true") + 1

    assert any(f"main.tf:{line}: `update        = true`" in said for said in adopted(seed).dangers)


def test_the_secret_of_a_token_is_not_written_anywhere(today: Path):
    (today / "terraform.tfvars").write_text(
        'proxmox = {\n  name = "pve9"\n  endpoint = "https://pve9.example.org:8006/"\n'
        '  api_token = "root@pam!tofu=11111111-2222"\n}\n'
    )

    adoption = adopted(today)

    assert 'token_id: "root@pam!tofu"' in adoption.text
    assert 'endpoints: ["https://pve9.example.org:8006"]' in adoption.text
    assert "11111111" not in repr(adoption)


def test_the_git_tree_beside_the_folder_gives_the_gitops_section(today: Path, tmp_path: Path):
    tree = {
        "k8s/infrastructure/application-set.yaml": root_set(
            "infra-{{ path.basename }}", "k8s/infrastructure/*"
        ),
        "k8s/infrastructure/project.yaml": "",
        "k8s/infrastructure/network/cilium/kustomization.yaml": "",
        "k8s/infrastructure/controllers/argocd/kustomization.yaml": "",
        "k8s/infrastructure/monitoring/kustomization.yaml": "",
        "k8s/applications/application-set.yaml": root_set(
            "apps-{{ path.basename }}", "k8s/applications/media"
        ),
        "k8s/applications/media/kustomization.yaml": "",
        "k8s/applications/web/kustomization.yaml": "",
    }
    for name, text in tree.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    path = tmp_path / "site.yaml"

    sizes = ["--memory", "controlplane=4096", "--memory", "worker=8192"]
    code = main(["init", "--from-tofu", str(today), "--output", str(path), *sizes])

    gitops = load_site(path).site.gitops
    assert code == DONE
    assert gitops is not None
    assert (gitops.repo, gitops.revision) == ("https://git.example.org/owner/repo.git", "stable")
    assert gitops.cni == "k8s/infrastructure/network/cilium"
    assert gitops.argocd == "k8s/infrastructure/controllers/argocd"
    assert [(layer.name, layer.apps) for layer in gitops.layers] == [
        ("core", ("infra-controllers", "infra-network")),
        ("platform", ("infra-monitoring",)),
        ("apps", ("apps-media",)),
    ]
    assert [layer.apply for layer in gitops.layers] == [
        ("k8s/infrastructure/project.yaml", "k8s/infrastructure/application-set.yaml"),
        (),
        ("k8s/applications/application-set.yaml",),
    ]


@pytest.mark.parametrize("text", ["kind: [", "kind: ConfigMap", "!Find [a]", ""])
def test_a_root_set_that_cannot_be_read_leaves_the_section_open(
    today: Path, tmp_path: Path, text: str
):
    (tmp_path / "k8s/infra").mkdir(parents=True)
    (tmp_path / "k8s/infra/application-set.yaml").write_text(text)

    tree = read_git_tree(today)

    assert "# gitops:" in adopt_tofu(read_tofu_folder(today), "attic", tree=tree).text


def test_a_root_set_does_not_reach_outside_the_repository(today: Path, tmp_path: Path):
    (tmp_path / "k8s/infra").mkdir(parents=True)
    (tmp_path / "k8s/infra/application-set.yaml").write_text(
        root_set("{{ path.basename }}", "../*")
    )

    tree = read_git_tree(today)

    assert tree is not None
    assert not tree.sets


@pytest.mark.parametrize("word", ["true", "null", "yes", "1e3", "0x10", "a: b", "#x", "12"])
def test_a_value_that_yaml_would_misread_is_quoted(today: Path, word: str):
    (today / "zz.auto.tfvars").write_text(f'cluster_name = "{word}"\n')

    text = adopted(today).text

    assert yaml.safe_load(text)["cluster"]["name"] == word
    match read_document(text).value:
        case {"cluster": {"name": name}}:
            assert name == word
        case other:
            pytest.fail(f"no cluster in {other}")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("broken.auto.tfvars", "nodes_config = {", "is not HCL"),
        ("other.auto.tfvars", 'name = "x"\n', "no nodes found"),
        ("binary.tf", "\udcff", "not UTF-8"),
    ],
)
def test_a_folder_that_cannot_be_read_is_bad_input(tmp_path: Path, name: str, text: str, says: str):
    (tmp_path / name).write_bytes(text.encode(errors="surrogateescape"))

    with pytest.raises(BadInputError, match=says):
        adopted(tmp_path)


@pytest.mark.parametrize("where", ["nowhere", "."])
def test_a_folder_without_tofu_files_is_bad_input(tmp_path: Path, where: str):
    assert main(["init", "--from-tofu", str(tmp_path / where)]) == BAD_INPUT


def test_init_lists_what_it_could_not_know_and_does_not_write_over_a_file(
    today: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "site.yaml"
    command = ["init", "--from-tofu", str(today), "--output", str(path)]

    first = main([*command, "--json"])
    told = json.loads(capsys.readouterr().out)
    second = main(command)

    assert (first, second) == (DONE, BAD_INPUT)
    assert not told["loads"]
    assert {gap["key"] for gap in told["unknown"]} >= {
        "nodes[0].memory",
        "nodes[0].cpu",
        "proxmox.token_id",
    }
    assert "exists: name another file" in capsys.readouterr().err


@pytest.fixture
def real_homelab() -> Path:
    if not REAL.is_dir():
        missing(
            f"{REAL} is not there: put the reference data beside the repository, or name its folder in {NAMED}"
        )
    return REAL


def test_the_real_homelab_is_adopted_and_loads_once_its_memory_is_filled_in(
    tmp_path: Path, real_homelab: Path
):
    path = tmp_path / "site.yaml"
    adoption = adopt_tofu(read_tofu_folder(real_homelab), "home")
    path.write_text(adoption.text)

    with pytest.raises(BadInputError) as error:
        load_site(path)
    filled = adoption.text.replace("memory:  #", "memory: 8192  #")
    path.write_text(filled)
    site = load_site(path).site

    assert str(error.value).count(".memory: is empty") == 6
    assert (len(site.control_planes), len(site.workers)) == (3, 3)
    said = "\n".join(adoption.dangers)
    assert (
        "armed on work-00, work-01, work-02: the next `tofu apply` replaces all 3 at once" in said
    )
    assert "talos_image.auto.tfvars wins as a whole; they agree today" in said
    assert said.count("skew: ") == 3


def test_the_real_homelab_asks_for_89088_mib_with_its_own_sizes(tmp_path: Path, real_homelab: Path):
    path = tmp_path / "site.yaml"
    sizes = ["--memory", "controlplane=8192", "--memory", "worker=21504"]

    code = main(["init", "--from-tofu", str(real_homelab), "--output", str(path), *sizes])

    assert code == DONE
    site = load_site(path).site
    assert sum(node.memory for node in site.nodes) == 89_088
    assert site.gitops is not None
    assert site.gitops.argocd == "k8s/infrastructure/controllers/argocd"
    assert [len(layer.apps) for layer in site.gitops.layers] == [4, 4, 8]
