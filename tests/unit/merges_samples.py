"""Lines that the table knows, one of each kind, and commits made of them."""

from dataclasses import dataclass

from windlass.models.merges import Commit, FileChange, Hunk
from windlass.plans.merges_table import Class

COMMIT, PARENT = "c" * 40, "p" * 40
EXTERNAL_SECRETS = "k8s/infrastructure/controllers/external-secrets/kustomization.yaml"
BARMAN = "https://github.com/owner/plugin/releases/download"
GATEWAY = "https://raw.githubusercontent.com/kubernetes-sigs/gateway-api"
DIGEST, OTHER_DIGEST = "@sha256:" + "a1" * 32, "@sha256:" + "b2" * 32


@dataclass(frozen=True)
class Sample:
    """A line with a hole where its version goes, in a file of its class."""

    cls: Class
    path: str
    line: str
    before: str = "1.4.2"
    after: str = "1.5.0"

    def edit(self) -> FileChange:
        return edit(self.path, self.line.format(self.before), self.line.format(self.after))


SAMPLES = (
    Sample(Class.TALOS, "tofu/config.auto.tfvars",
           '  update_version = "v{}" # renovate: github-releases=siderolabs/talos', "1.12.5", "1.13.0"),
    Sample(Class.TALOS, "tofu/talos_image.auto.tfvars",
           '  update_version = "v{}" # renovate: github-releases=siderolabs/talos', "1.12.5", "1.12.6"),
    Sample(Class.KUBERNETES, "tofu/config.auto.tfvars",
           '  update_version = "{}" # renovate: github-releases=kubernetes/kubernetes versioning=loose',
           "1.35.2", "1.35.3"),
    Sample(Class.CILIUM_BOOTSTRAP, "tofu/talos/inline-manifests/cilium-install.yaml",
           "            - --version=v{} # renovate: github-releases=cilium/cilium"),
    Sample(Class.GATEWAY_API, "tofu/talos/machine-config/control-plane.yaml.tftpl",
           f"    - {GATEWAY}/v{{}}/config/crd/experimental/tlsroutes.yaml"),
    Sample(Class.TOFU_PROVIDER, "tofu/providers.tf", '      version = "{}"', "0.95.0", "0.96.0"),
    Sample(Class.TOFU_PROVIDER, "tofu/state/providers.tofu", '      version = "~> {}"', "3.1.0", "3.2.0"),
    Sample(Class.INFRA, EXTERNAL_SECRETS, "    version: {}"),
    Sample(Class.INFRA, "k8s/infrastructure/database/operator/kustomization.yml",
           f"  - {BARMAN}/v{{0}}/manifest-{{0}}.yaml"),
    Sample(Class.INFRA, "k8s/infrastructure/network/coredns/deployment.yaml",
           "          image: coredns/coredns:{}"),
    Sample(Class.INFRA, "k8s/infrastructure/security/warden/values.yaml", "      tag: v{}"),
    Sample(Class.APP, "k8s/applications/web/notes/deployment.yaml",
           "          image: registry.example.org:5000/team/notes:v{}-slim  # renovate: docker=team/notes"),
    Sample(Class.APP, "k8s/applications/ai/chat/statefulset.yaml",
           "        - image: 'ghcr.io/owner/chat:{}'", "2026.5.6", "2026.5.10"),
    Sample(Class.APP, "k8s/applications/tools/box/kustomization.yaml", "    newTag: {}"),
    Sample(Class.APP, "k8s/applications/ai/chat/requirements.txt", "openai=={}"),
    Sample(Class.IMAGE, "images/builder/Dockerfile",
           "ARG IMAGE_VERSION=v{} # renovate: github-releases=owner/project"),
    Sample(Class.IMAGE, "images/builder/Dockerfile", "FROM docker.io/library/node:{}-alpine AS build"),
)  # fmt: skip


def edit(path: str, old: str, new: str) -> FileChange:
    """One line of a file, replaced."""
    return FileChange(path, "100644", "100644", (Hunk(7, (old,), (new,)),))


def commit(*files: FileChange) -> Commit:
    return Commit(COMMIT, PARENT, files)
