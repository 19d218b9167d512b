"""HTTP answers of the API server."""

import orjson
from aiohttp import web

from windlass.lab.kubernetes.documents import Document

JSON = "application/json"


def json_answer(doc: Document) -> web.Response:
    return respond(orjson.dumps(doc))


def respond(
    body: bytes,
    code: int = 200,
    headers: dict[str, str] | None = None,
    content_type: str = JSON,
) -> web.Response:
    fixed = {"Content-Type": content_type, "Cache-Control": "no-cache, private"}
    return web.Response(body=body, status=code, headers=fixed | (headers or {}))
