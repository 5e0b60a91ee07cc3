"""Who may ask the explorer what: reading only, from this machine's own pages, or with the token.

The server holds no secret of its own, but it answers any web page that a browser on this machine has open. So it
refuses what is not addressed to it by name (DNS rebinding) and what another site's page sends, and its headers let a
page of its own load nothing from elsewhere and run no script but the server's files.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, quote, unquote, unquote_to_bytes, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cotlens.errors import InputError

__all__ = ["CONTENT_POLICY", "REPORT_POLICY", "Guard", "Guarded", "guard_for", "is_api", "is_loopback"]

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
COOKIE = "cotlens_token"
_ANY_ADDRESS = frozenset({"0.0.0.0", "::", ""})
_LEAST_TOKEN = 8

CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
#: The report brings its style along and has no script; it is shown as a page of no origin.
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; sandbox allow-downloads"
)
_HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True)
class Guard:
    """``hosts`` are the names that a request may be addressed to, None for any; ``token`` must be known, if given."""

    hosts: frozenset[str] | None = LOOPBACK
    token: str | None = None

    def refusal(self, scope: Scope) -> Response | None:
        """The answer to a request that is refused; None for one that may pass."""
        headers = Headers(scope=scope)
        if scope["method"] not in ("GET", "HEAD"):
            return _refused(405, "the explorer only reads: GET and HEAD", {"Allow": "GET, HEAD"})
        if not _is_plain(scope.get("raw_path") or scope["path"].encode("utf-8", "surrogateescape")):
            return _refused(400, "this address has a part that no page has")
        host = _host_name(headers.get("host", ""))
        if host is None or (self.hosts is not None and host not in self.hosts):
            return _refused(421, "addressed to another host; open the address that `cotlens view` printed")
        if _is_foreign(headers):
            return _refused(403, "asked for by another site")
        return self._without_token(scope, headers)

    def _without_token(self, scope: Scope, headers: Headers) -> Response | None:
        if self.token is None:
            return None
        if _same(self.token, [_bearer(headers), _cookie(headers)]):
            return None
        asked = parse_qs(scope["query_string"].decode("latin-1"))
        if _same(self.token, asked.get("token", [])):
            # To the same page, never to what reads as another host.
            answer = RedirectResponse("/" + quote(scope["path"].lstrip("/"), safe="/:~"), status_code=303)
            answer.set_cookie(COOKIE, self.token, httponly=True, samesite="lax")
            return answer
        return _refused(
            401, "open the address with ?token=... that `cotlens view` printed", {"WWW-Authenticate": "Bearer"}
        )


class Guarded:
    """An application behind a `Guard`, whose answers carry the headers of security."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self._app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no websockets here
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._guard.refusal(scope)
        if refusal is not None and refusal.status_code != 303 and is_api(scope["path"]):
            refusal = _as_json(refusal)
        await (refusal or self._app)(_plain_scope(scope), receive, send_with_headers)


def is_loopback(host: str) -> bool:
    return host in LOOPBACK or host.startswith("127.")


def guard_for(host: str, token: str | None) -> Guard:
    """The guard of a server that is bound to ``host``.

    Raises:
        InputError: others could reach it and no token is asked for, or the token is too short to keep them out.
    """
    if token is not None and len(token) < _LEAST_TOKEN:
        raise InputError(f"--token: {len(token)} characters are too few; give at least {_LEAST_TOKEN}")
    if is_loopback(host):
        return Guard(LOOPBACK | {host}, token)
    if token is None:
        raise InputError(
            f"--host {host}: other machines could open the explorer there; add --token SECRET, or leave --host away"
        )
    return Guard(None if host in _ANY_ADDRESS else frozenset({host.lower()}) | LOOPBACK, token)


def _plain_scope(scope: Scope) -> Scope:
    """The request as the pages know it: HEAD is a GET whose body the server leaves out, and a slash that is escaped
    in the address is part of a name, not of the path, so it stays escaped."""
    raw: bytes = scope.get("raw_path") or b""
    path = scope["path"]
    if b"%2f" in raw.lower():
        path = unquote(re.sub(rb"%2[fF]", b"%252F", raw.partition(b"?")[0]).decode("latin-1"))
    return {**scope, "method": "GET", "path": path}


def is_api(path: str) -> bool:
    """Whether an address is one of those that answer with JSON."""
    return path.removeprefix("/other").startswith("/api")


def _as_json(refusal: Response) -> Response:
    headers = {name: value for name, value in refusal.headers.items() if name in ("allow", "www-authenticate")}
    detail = bytes(refusal.body).decode().strip()
    return JSONResponse({"detail": detail}, status_code=refusal.status_code, headers=headers)


def _refused(status: int, why: str, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(f"cotlens: {why}\n", status_code=status, headers=headers)


def _is_plain(raw_path: bytes) -> bool:
    """Whether an address, however it is encoded, has no step upwards, no backslash and no control character."""
    path = unquote_to_bytes(raw_path.partition(b"?")[0])
    if b"\\" in path or any(byte < 0x20 or byte == 0x7F for byte in path):
        return False
    return not {b"..", b"."} & set(path.split(b"/"))


def _host_name(header: str) -> str | None:
    """The name in a Host header, without port and brackets; None if there is none."""
    try:
        name = urlsplit(f"//{header}").hostname
    except ValueError:
        return None
    return name.lower() if name and not {"@", "/", "?", "#"} & set(header) else None


def _is_foreign(headers: Headers) -> bool:
    """Whether another site's page asks. That a link there leads here is no harm: it can't read the answer."""
    origin = headers.get("origin")
    if origin is not None:
        return urlsplit(origin).netloc != headers.get("host")
    site, mode = headers.get("sec-fetch-site", "none"), headers.get("sec-fetch-mode")
    framed = headers.get("sec-fetch-dest") not in (None, "document")
    return site in ("cross-site", "same-site") and (mode != "navigate" or framed)


def _bearer(headers: Headers) -> str:
    return headers.get("authorization", "").removeprefix("Bearer ")


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def _same(token: str, given: Iterable[str]) -> bool:
    return any(hmac.compare_digest(token.encode(), text.encode("utf-8", "surrogateescape")) for text in given)
