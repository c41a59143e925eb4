"""The sentence for a server that gave no answer, and for an address that is none."""

import re
import ssl

import httpx

from keyturn.cli.output import EXIT_REFUSED
from keyturn.cli.remote.profiles import CA_FILE_VARIABLE

EXIT_NO_ANSWER = 69
"""EX_UNAVAILABLE of sysexits.h."""


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
    server = f"{error.request.url.scheme}://{error.request.url.netloc.decode('ascii')}"
    reason = re.sub(r"^\[[^]]*\] *", "", str(error)).rstrip(".")  # Without the number of the error.
    reason = re.sub(r" \(_ssl\.c:[0-9]+\)$", "", reason)
    why = f" ({reason})" if reason else ""
    match _cause_of(error):
        case ssl.SSLCertVerificationError() as untrusted:
            return (
                f"The certificate of {server} is not trusted ({untrusted.verify_message.rstrip('.')}): give "
                f"the file of its authority with --ca-file or {CA_FILE_VARIABLE}, or correct the address."
            )
        case ssl.SSLError():
            return f"{server} does not speak TLS{why}: check the port, and whether the address is https."
    if isinstance(error, httpx.RemoteProtocolError):
        return f"{server} does not speak HTTP{why}: check the port, and whether the address is https."
    return f"Nobody answers at {server}{why}: check the address, and that the server runs."


def _cause_of(error: BaseException) -> BaseException:
    """Return where an error began: httpx hides the system's behind two of its own."""
    while (before := error.__cause__ or error.__context__) is not None:
        error = before
    return error
