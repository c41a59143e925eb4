"""Requests that the parser takes and RFC 9112 does not: odd lines, foreign targets, odd framing.

llhttp reads `HTTP/2.0` and `HTTP/0.9` as text, a line without a version, two spaces for one, and RTSP or ICE
for HTTP. It says what it understood, so a line is held against the only spelling that says the same.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

from keyturn.errors import MalformedRequest, UnknownTransferCoding

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def check_request_line(head: bytes, method: bytes, target: bytes) -> None:
    """Raise `MalformedRequest` unless `head` begins with a line of HTTP/1.1 or 1.0 (RFC 9112, section 3)."""
    line = method + b" " + target + b" HTTP/1."
    if not head.startswith((line + b"1\r\n", line + b"0\r\n")):
        raise MalformedRequest(
            "The request line must be a method, a target and HTTP/1.1, with one space between."
        )


def check_target(target: bytes, hosts: list[bytes]) -> None:
    """Raise `MalformedRequest` unless the target is a path, or a URL of the one host that `Host` names.

    RFC 9112, sections 3.2.1 and 3.2.2. Where the two differ, somebody on the way has read another request.
    """
    if b"#" in target:
        raise MalformedRequest("The request target must not have a fragment.")
    if target.startswith(b"/"):
        return
    try:
        url = urlsplit(target.decode("ascii"))
    except ValueError:
        raise MalformedRequest("The request target must be a path.") from None
    if url.scheme not in _DEFAULT_PORTS or not url.netloc:
        raise MalformedRequest("The request target must be a path.")
    named = [plain_host(host.decode("latin-1"), url.scheme) for host in hosts]
    if named != [plain_host(url.netloc, url.scheme)]:
        raise MalformedRequest("The request target names another host than Host does.")


def check_transfer_coding(headers: Sequence[tuple[bytes, bytes]], version: str) -> None:
    """Raise `UnknownTransferCoding` for any coding but `chunked`, once (RFC 9112, sections 6.1 and 7).

    llhttp reads the chunks, and leaves coded what is in them. It also takes chunks from HTTP/1.0, which has
    none: raises `MalformedRequest`, since somebody on the way may have read another body, and where `chunked`
    is not the last (section 6.3).
    """
    lines = [value for name, value in headers if name == b"transfer-encoding"]
    if not lines:
        return
    codings = [coding.strip().lower() for coding in b",".join(lines).split(b",")]
    if version != "1.1":
        raise MalformedRequest("HTTP/1.0 has no Transfer-Encoding: send Content-Length, or HTTP/1.1.")
    if codings[-1] != b"chunked":
        raise MalformedRequest("Where the body ends is not known: chunked must be the last coding of it.")
    if codings != [b"chunked"]:
        raise UnknownTransferCoding("The only Transfer-Encoding that is understood here is chunked, once.")


def plain_host(host: str, scheme: str) -> str:
    """Return the one spelling of a host: lower case, no default port, no dot of the root at its end."""
    name, colon, port = host.lower().removesuffix(_DEFAULT_PORTS[scheme]).partition(":")
    return name.removesuffix(".") + colon + port
