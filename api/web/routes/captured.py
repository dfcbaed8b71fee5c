"""The demo's mailbox: what would have been sent, for people to look at. Exists only in the demo."""

from __future__ import annotations

from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

from api.web.access import Access, may, services_of
from api.web.pages import page

router = APIRouter(include_in_schema=False)
_KINDS = {"email": ".eml", "sms": ".txt"}
_MOST = 300
# A mail brings its own inline styles; it may do nothing else, and only our own page may frame it.
_MAIL_CSP = "default-src 'none'; style-src 'unsafe-inline'; sandbox allow-popups; frame-ancestors 'self'"
_FRAMING = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'; frame-src 'self'"
)


@router.get("/captured")
@may(Access.DEMO)
def captured(request: Request) -> Response:
    """List captured messages, newest first."""
    mails = [_listed(path) for path in _files(request, "email")]
    texts = [{"name": path.name, "text": _text(path), "at": _at(path)} for path in _files(request, "sms")]
    return page(request, "captured.html", private=True, mails=mails, texts=texts)


@router.get("/captured/email/{name}")
@may(Access.DEMO)
def captured_mail(request: Request, name: str) -> Response:
    """One captured mail: head, text, and its HTML in a closed frame."""
    path = _one(request, "email", name)
    message = _mail(path)
    body = message.get_body(("plain",))
    text = body.get_content() if body else ""
    response = page(
        request,
        "captured_mail.html",
        private=True,
        name=name,
        message=message,
        text=text,
        has_html=message.get_body(("html",)) is not None,
        headers=[
            (key, value) for key, value in message.items() if not key.lower().startswith(("content", "mime"))
        ],
    )
    response.headers["content-security-policy"] = _FRAMING
    return response


@router.get("/captured/email/{name}/html")
@may(Access.DEMO)
def captured_html(request: Request, name: str) -> Response:
    """The HTML of a captured mail, alone, unable to run or load anything."""
    body = _mail(_one(request, "email", name)).get_body(("html",))
    if body is None:
        raise HTTPException(404)
    return HTMLResponse(
        body.get_content(), headers={"content-security-policy": _MAIL_CSP, "cache-control": "no-store"}
    )


@router.get("/captured/email/{name}/source")
@may(Access.DEMO)
def captured_source(request: Request, name: str) -> Response:
    """The mail as it would travel."""
    data = _one(request, "email", name).read_bytes()
    return Response(data, media_type="text/plain; charset=utf-8", headers={"cache-control": "no-store"})


def _files(request: Request, kind: str) -> list[Path]:
    folder = services_of(request).settings.captured / kind
    found = [path for path in folder.glob(f"*{_KINDS[kind]}") if not path.name.startswith(".")]
    return sorted(found, key=lambda path: (-path.stat().st_mtime, path.name))[:_MOST]


def _one(request: Request, kind: str, name: str) -> Path:
    """The file of that name among those we list; a path in the name finds nothing."""
    for path in _files(request, kind):
        if path.name == name:
            return path
    raise HTTPException(404)


def _listed(path: Path) -> dict[str, Any]:
    message = _mail(path)
    date = getattr(message["date"], "datetime", None)  # absent where the head cannot be read
    when = date if date is not None and date.tzinfo is not None else _at(path)
    return {
        "name": path.name,
        "subject": message["subject"] or path.name,
        "to": message["to"] or "",
        "when": when,
    }


def _mail(path: Path) -> EmailMessage:
    message = message_from_bytes(path.read_bytes(), policy=policy.default)
    assert isinstance(message, EmailMessage)  # noqa: S101 - policy.default makes no other kind
    return message


def _text(path: Path) -> dict[str, str]:
    """The head and the text of a captured short message."""
    head, _, text = path.read_text(encoding="utf-8").partition("\n\n")
    fields = {key.lower(): value for key, _, value in (line.partition(": ") for line in head.splitlines())}
    return {"to": fields.get("to", ""), "segments": fields.get("segments", ""), "text": text.strip()}


def _at(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)
