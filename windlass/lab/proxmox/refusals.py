"""How Proxmox VE says no: a status, a reason phrase, and per-parameter errors for a 400."""

from collections.abc import Mapping


class Refusal(Exception):  # noqa: N818 - it is an answer of the API, not a defect of the lab
    """An answer other than 200. `text` may have several lines; the first becomes the reason phrase.

    The web server's own refusals are plain text in every format, `plain`.
    """

    def __init__(
        self,
        text: str,
        *,
        status: int = 500,
        errors: Mapping[str, str] | None = None,
        plain: bool = False,
    ) -> None:
        super().__init__(text)
        self.text = text
        self.status = status
        self.errors = dict(errors or {})
        self.plain = plain

    @property
    def reason(self) -> str:
        return self.text.split("\n", 1)[0].strip()


def bad_parameters(errors: Mapping[str, str]) -> Refusal:
    """400: one text for each parameter that is wrong."""
    return Refusal(
        "Parameter verification failed.",
        status=400,
        errors={name: f"{text}\n" for name, text in errors.items()},
    )


def bad_parameter(name: str, text: str) -> Refusal:
    return bad_parameters({name: text})


def forbidden(about: str = "") -> Refusal:
    return Refusal(
        f"Permission check failed ({about})" if about else "Permission check failed", status=403
    )


def not_implemented(method: str, path: str) -> Refusal:
    return Refusal(f"Method '{method} {path}' not implemented", status=501)
