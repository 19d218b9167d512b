"""The lab's Talos image factory: schematics, versions and small images that carry their identity.

An image is a JSON line that says what it boots, padded with zeros: the same version and schematic always make the
same bytes, so that a checksum can be known. It listens on TLS as factory.talos.dev (port 443 of the site is 8443 here).
"""

import hashlib
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import orjson
import yaml
from aiohttp import web
from aiohttp.typedefs import Handler

from windlass.lab.machine import Medium
from windlass.lab.talos.images import VANILLA, VERSIONS
from windlass.lab.world import World

NAME = "factory.talos.dev"
PORT = 8443
ISO_BYTES = 512 * 1024
_PLATFORMS = ("nocloud", "metal")
# Extensions that the lab's factory can put into an image.
EXTENSIONS = (
    "siderolabs/qemu-guest-agent", "siderolabs/i915", "siderolabs/intel-ucode", "siderolabs/amd-ucode",
    "siderolabs/iscsi-tools", "siderolabs/util-linux-tools", "siderolabs/nonfree-kmod-nvidia-production",
    "siderolabs/nvidia-container-toolkit-production", "siderolabs/nvidia-open-gpu-kernel-modules-production",
    "siderolabs/realtek-firmware", "siderolabs/tailscale", "siderolabs/gvisor",
)  # fmt: skip


def iso_bytes(version: str, schematic: str, platform: str = "nocloud") -> bytes:
    """The image itself. Its head names its own size: a cut-off copy is told from a whole one."""
    head = orjson.dumps(
        {
            "windlass": "talos",
            "version": version,
            "schematic": schematic,
            "platform": platform,
            "size": ISO_BYTES,
        }
    )
    return head + b"\n" + bytes(ISO_BYTES - len(head) - 1)


def medium_of(image: Path) -> Medium | None:
    """What the image file boots, or None when it boots nothing."""
    try:
        size = image.stat().st_size
        with image.open("rb") as file:
            head = orjson.loads(file.readline(4096))
    except (OSError, orjson.JSONDecodeError):
        return None
    if not isinstance(head, dict) or head.get("windlass") != "talos" or head.get("size") != size:  # pyright: ignore[reportUnknownMemberType]
        return None
    return Medium(str(head["version"]), str(head["schematic"]), str(head["platform"]))  # pyright: ignore[reportUnknownArgumentType]


EVALUATED = ("extraKernelArgs", "systemExtensions")


@dataclass(frozen=True)
class Schematic:
    """What an image is made of beside Talos itself. Its id is the SHA-256 of its canonical YAML."""

    extensions: tuple[str, ...] = ()
    kernel_args: tuple[str, ...] = ()

    @classmethod
    def read(cls, document: dict[str, Any]) -> "Schematic":
        parts: dict[str, Any] = document.get("customization") or {}
        system: dict[str, Any] = parts.get("systemExtensions") or {}
        return cls(
            tuple(system.get("officialExtensions") or ()), tuple(parts.get("extraKernelArgs") or ())
        )

    @property
    def id(self) -> str:
        lines: list[str] = []
        if self.kernel_args:
            lines += ["    extraKernelArgs:", *(f"        - {arg}" for arg in self.kernel_args)]
        if self.extensions:
            lines += ["    systemExtensions:", "        officialExtensions:"]
            lines += [f"            - {name}" for name in self.extensions]
        text = "\n".join(["customization:", *lines]) if lines else "customization: {}"
        return hashlib.sha256(f"{text}\n".encode()).hexdigest()


def _not_built(document: dict[str, Any]) -> str:
    """What of a schematic makes another image and has no part in the lab's; empty when nothing has."""
    parts: dict[str, Any] = document.get("customization") or {}
    system: dict[str, Any] = parts.get("systemExtensions") or {}
    names = [
        *(key for key in ("overlay", "owner") if document.get(key)),
        *(f"customization.{key}" for key in parts if key not in EVALUATED),
        *(f"customization.systemExtensions.{key}" for key in system if key != "officialExtensions"),
    ]
    return ", ".join(names)


class ImageFactory:
    """One HTTPS server at `world.network.service(1)`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._schematics = world.store.section("schematics")
        self._runner: web.AppRunner | None = None
        world.faults.declare(
            "factory-slow", "the image factory answers after `delay_s` lab seconds"
        )
        world.faults.declare("factory-error", "the image factory answers `status` (default 503)")
        world.faults.declare("factory-corrupt", "images have the right size and one wrong byte")

    async def start(self) -> None:
        world = self._world
        address = world.network.service(1)
        self._schematics.setdefault(VANILLA, {})
        certificate, key = world.authority.issue("factory", [NAME, str(address)])
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate, key)
        app = web.Application(middlewares=[self._faulty])
        app.add_routes(
            [
                web.post("/schematics", self._post_schematic),
                web.get("/schematics/{schematic}", self._get_schematic),
                web.get("/versions", self._versions),
                web.get("/version/{version}/extensions/official", self._extensions),
                web.get("/image/{schematic}/{version}/{file}", self._image),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, str(address), PORT, ssl_context=tls).start()
        world.names[NAME] = address

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @web.middleware
    async def _faulty(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if slow := self._world.faults.fires("factory-slow"):
            await self._world.clock.sleep(float(slow.args.get("delay_s", 60)))
        if error := self._world.faults.fires("factory-error"):
            return web.Response(
                status=int(error.args.get("status", 503)), text="factory unavailable\n"
            )
        return await handler(request)

    async def _post_schematic(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            document: Any = yaml.safe_load(body) or {}
        except yaml.YAMLError as error:
            return web.Response(status=400, text=f"yaml: {error}\n")
        known = {"customization", "overlay", "owner"}
        if not isinstance(document, dict) or not known.issuperset(cast(dict[str, Any], document)):
            return web.Response(status=400, text="invalid schematic\n")
        if beyond := _not_built(cast(dict[str, Any], document)):
            return web.Response(status=501, text=f"the lab's factory does not evaluate {beyond}\n")
        schematic = Schematic.read(document)  # pyright: ignore[reportUnknownArgumentType]
        unknown = [name for name in schematic.extensions if name not in EXTENSIONS]
        if unknown:
            return web.Response(
                status=400, text=f"official extension {unknown[0]!r} is not available\n"
            )
        self._schematics[schematic.id] = document
        return web.json_response({"id": schematic.id}, status=201)

    async def _get_schematic(self, request: web.Request) -> web.Response:
        schematic = request.match_info["schematic"]
        if schematic not in self._schematics:
            return web.Response(status=404, text=f"schematic {schematic!r} not found\n")
        return web.Response(
            text=yaml.safe_dump(self._schematics[schematic], sort_keys=False),
            content_type="application/yaml",
        )

    async def _versions(self, _request: web.Request) -> web.Response:
        return web.json_response(list(VERSIONS))

    async def _extensions(self, request: web.Request) -> web.Response:
        version = request.match_info["version"]
        if version not in VERSIONS:
            return web.Response(status=404, text=f"version {version} is not available\n")
        known = [
            {
                "name": name,
                "ref": f"ghcr.io/{name}:{version}",
                "digest": "",
                "author": "Sidero Labs",
                "description": "",
            }
            for name in EXTENSIONS
        ]
        return web.json_response(known)

    async def _image(self, request: web.Request) -> web.Response:
        schematic, version, name = (request.match_info[k] for k in ("schematic", "version", "file"))
        platform = name.partition("-")[0]
        if version not in VERSIONS:
            return web.Response(status=404, text=f"version {version} is not available\n")
        if schematic not in self._schematics:
            return web.Response(status=404, text=f"schematic {schematic!r} not found\n")
        if platform not in _PLATFORMS or name not in {
            f"{platform}-amd64.{kind}" for kind in ("iso", "raw")
        }:
            return web.Response(status=404, text=f"invalid profile {name!r}\n")
        body = iso_bytes(version, schematic, platform)
        if self._world.faults.fires("factory-corrupt"):
            body = body[:-1] + b"\x01"
        return web.Response(
            body=body, content_type="application/octet-stream",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )  # fmt: skip
