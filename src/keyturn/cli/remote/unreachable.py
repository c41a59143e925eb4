"""The sentence for a server that gave no answer, and for an address that is none."""

import re
import socket
import ssl
import urllib.request
from urllib.parse import urlsplit

import httpx

from keyturn.cli.output import EXIT_REFUSED
from keyturn.cli.remote.profiles import CA_FILE_VARIABLE
from keyturn.core.loopback import is_loopback

EXIT_NO_ANSWER = 69
"""EX_UNAVAILABLE of sysexits.h."""

_EXPIRED, _NOT_YET_VALID = 10, 9
_OTHER_NAME, _OTHER_ADDRESS = 62, 64
"""Results of OpenSSL's verification (X509_V_ERR_*)."""


def explain(error: Exception) -> tuple[str, int] | None:
    """Return what to tell of an error of httpx, and the exit code; None for any other error."""
    match error:
        case httpx.TransportError():
            return _without_answer(error), EXIT_NO_ANSWER
        case httpx.InvalidURL():
            return f"The address cannot be used: {str(error).rstrip('.')}.", EXIT_REFUSED
        case _:
            return None


def _without_answer(error: httpx.TransportError) -> str:
    """Say which server gave no answer, why, as far as the system knows, and what to do."""
    url = error.request.url
    server = f"{url.scheme}://{url.netloc.decode('ascii')}"
    why = _reason(error)
    match _cause_of(error):
        case ssl.SSLCertVerificationError() as untrusted:
            return _untrusted(server, url.host, untrusted)
        case ssl.SSLError():
            return f"{server} does not speak TLS{why}: check the port, and whether the address is https."
    is_reset = isinstance(_cause_of(error), ConnectionResetError)
    if isinstance(error, httpx.RemoteProtocolError) or (is_reset and url.scheme == "http"):
        return f"{server} does not speak HTTP{why}: check the port, and whether the address is https."
    proxy = _proxy_of(url)
    if proxy is not None:
        return (
            f"The proxy {proxy} does not lead to {server}{why}: correct the address of the proxy, or name "
            f"{url.host} in NO_PROXY."
        )
    return _silent(error, server, url.host, why)


def _silent(error: httpx.TransportError, server: str, host: str, why: str) -> str:
    """Say why nothing came back from a network without proxies."""
    if isinstance(error, httpx.TimeoutException):
        return f"{server} does not answer in time: try again, and check the network between you and it."
    match _cause_of(error):
        case socket.gaierror():
            return (
                f"No server has the name {host}{why}: correct the address, or check the DNS of the network."
            )
        case ConnectionRefusedError():
            return f"Nobody answers at {server}{why}: start the server, or correct the address and port."
        case _:
            return f"Nobody answers at {server}{why}: check the address, and that the server runs."


def _untrusted(server: str, host: str, error: ssl.SSLCertVerificationError) -> str:
    """Say what is wrong with a certificate, and who can mend it."""
    match error.verify_code:
        case code if code == _EXPIRED:
            return f"The certificate of {server} has expired: renew it on the server."
        case code if code == _NOT_YET_VALID:
            return f"The certificate of {server} is not valid yet: check the clocks of both machines."
        case code if code in {_OTHER_NAME, _OTHER_ADDRESS}:
            return (
                f"The certificate of {server} is not for {host}: use the name that it is for as the address."
            )
    return (
        f"The certificate of {server} is not trusted ({error.verify_message.rstrip('.')}): give the file of "
        f"its authority with --ca-file or {CA_FILE_VARIABLE}, or correct the address."
    )


def _reason(error: httpx.TransportError) -> str:
    """Return what the system says, in brackets and without its numbers; nothing if it says nothing."""
    reason = re.sub(r"^\[[^]]*\] *", "", str(error)).rstrip(".")
    reason = re.sub(r" \(_ssl\.c:[0-9]+\)$", "", reason)
    return f" ({reason})" if reason else ""


def _proxy_of(url: httpx.URL) -> str | None:
    """Return the proxy by which the environment sends requests to this address, without its password."""
    if is_loopback(url.host) or urllib.request.proxy_bypass(url.host):
        return None
    proxies = urllib.request.getproxies()
    found = proxies.get(url.scheme) or proxies.get("all")
    if not found:
        return None
    parts = urlsplit(found if "://" in found else f"//{found}")
    return parts.netloc.rpartition("@")[2] or None


def _cause_of(error: BaseException) -> BaseException:
    """Return where an error began: httpx hides the system's behind two of its own."""
    while (before := error.__cause__ or error.__context__) is not None:
        error = before
    return error
