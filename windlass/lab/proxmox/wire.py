"""Proxmox VE's HTTP, as it is rather than as it should be: how requests are decoded and answers are worded."""

import email.utils
from typing import Any, cast
from urllib.parse import unquote, unquote_plus

import orjson
from aiohttp import web

from windlass.lab.proxmox.refusals import Refusal

MAX_BODY = 512 * 1024
# A second hop that cannot be taken, and what the proxy says of it.
NO_ANSWER = {
    595: "No route to host", 596: "Connection timed out", 597: "Connection reset by peer", 598: "aborted",
    599: "Too many redirections",
}  # fmt: skip


def decode_form(text: str) -> dict[str, Any]:
    """Pairs split on `&` and `;`; a name without `=` is absent, a second raw `=` ends the value, repeats make lists."""
    found: dict[str, Any] = {}
    for pair in text.replace(";", "&").split("&"):
        if "=" not in pair:
            continue
        name, value = (unquote_plus(part) for part in pair.split("=")[:2])
        if name in found:
            before = found[name]
            found[name] = [*(before if isinstance(before, list) else [before]), value]
        else:
            found[name] = value
    return found


def split_target(raw_path: str) -> tuple[str, dict[str, Any]]:
    """The decoded path and the query of a request line."""
    path, _, query = raw_path.partition("?")
    return unquote(path), decode_form(query)


async def decode_body(request: web.BaseRequest) -> dict[str, Any]:
    """The parameters in the body.

    Raises:
        Refusal: 501 or 506 for what Proxmox VE does not take.
    """
    length = request.content_length or 0
    if not length:
        return {}
    if request.method in ("GET", "DELETE"):
        raise Refusal(f"Unexpected content for method '{request.method}'", status=501, plain=True)
    if length > MAX_BODY:
        raise Refusal("for data too large", status=501, plain=True)
    content_type = request.headers.get("Content-Type", "")
    body = await request.read()
    if content_type.startswith("application/json"):
        return _decode_json(body)
    if content_type and not content_type.startswith("application/x-www-form-urlencoded"):
        raise Refusal(
            f"upload 'Content-Type '{content_type}' not implemented", status=506, plain=True
        )
    return decode_form(body.decode("utf-8", "replace"))


def _decode_json(body: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refusal(f"malformed JSON string: {error}", status=500) from error
    if not isinstance(found, dict):
        raise Refusal("JSON body is not an object", status=500)
    return cast(dict[str, Any], found)


def answer(data: Any, extra: dict[str, Any]) -> web.Response:
    return _headed(
        web.Response(
            body=orjson.dumps({"data": data} | extra),
            content_type="application/json",
            charset="UTF-8",
        )
    )


def refuse(refusal: Refusal) -> web.Response:
    """The text is the reason phrase; 401 and the proxy's own statuses have no body."""
    body: dict[str, Any] = {"data": None, "message": refusal.text.rstrip("\n") + "\n"}
    if refusal.errors:
        body["errors"] = refusal.errors
    silent = refusal.status in NO_ANSWER or (
        refusal.status == 401 and refusal.text != "authentication failure"
    )
    response = _headed(
        web.Response(
            status=refusal.status,
            reason=refusal.reason,
            body=b"" if silent else orjson.dumps(body),
            content_type="application/json",
            charset="UTF-8",
        )
    )
    response.force_close()
    return response


def plain(status: int, text: str) -> web.Response:
    response = _headed(web.Response(status=status, reason=text, text=text))
    response.force_close()
    return response


def _headed(response: web.Response) -> web.Response:
    now = email.utils.formatdate(usegmt=True)
    response.headers.update(
        {
            "Server": "pve-api-daemon/3.0",
            "Pragma": "no-cache",
            "Cache-Control": "max-age=0",
            "Expires": now,
            "Date": now,
        }
    )
    return response


def compress(request: web.BaseRequest, response: web.Response) -> None:
    """Longer bodies are sent packed to whoever accepts it, with gzip where there is a choice."""
    if not isinstance(response.body, bytes) or len(response.body) <= 1024:
        return
    accepted = request.headers.get("Accept-Encoding", "")
    for coding in (web.ContentCoding.gzip, web.ContentCoding.deflate):
        if coding.value in accepted:
            response.enable_compression(coding)
            return
