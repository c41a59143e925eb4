"""The steps from a name to a usable session, and all that can be found wrong at them.

People read these texts alone. The words of drivers and servers go to the log (rules O6 and O7).
"""

from enum import StrEnum


class Step(StrEnum):
    """One step of a test, in the order in which they are taken."""

    RESOLVE = "resolve"
    ADDRESS = "address"
    TCP = "tcp"
    TLS = "tls"
    LOGIN = "login"
    DATABASE = "database"
    LIST = "list"
    VERSION = "version"


class State(StrEnum):
    """How a step ended."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


class Finding(StrEnum):
    """One thing that is wrong: the whole of what a test can say."""

    UNKNOWN_NAME = "unknown_name"
    FORBIDDEN_ADDRESS = "forbidden_address"
    PORT_CLOSED = "port_closed"
    UNREACHABLE = "unreachable"
    NO_TLS = "no_tls"
    WRONG_NAME = "wrong_name"
    CERTIFICATE_EXPIRED = "certificate_expired"
    CERTIFICATE_EARLY = "certificate_early"
    UNKNOWN_AUTHORITY = "unknown_authority"
    TLS_FAILED = "tls_failed"
    DRIVER_MISSING = "driver_missing"
    LOGIN_REFUSED = "login_refused"
    UNSAFE_LOGIN = "unsafe_login"
    TOO_MANY_SESSIONS = "too_many_sessions"
    NO_DATABASE = "no_database"
    DATABASE_REFUSED = "database_refused"
    NOTHING_SEEN = "nothing_seen"
    STATEMENT_REFUSED = "statement_refused"
    PASSWORD_UNCHANGED = "password_unchanged"
    OTHER_PROTOCOL = "other_protocol"
    CONNECTION_LOST = "connection_lost"
    TOO_SLOW = "too_slow"
    TOO_LARGE = "too_large"
    CANCELED = "canceled"
    FAILED = "failed"


TEXTS = {
    Finding.UNKNOWN_NAME: "DNS has no address for this host. Check its spelling.",
    Finding.FORBIDDEN_ADDRESS: "Connections may not lead to this address. Enter a host that your "
    "administrators allow.",
    Finding.PORT_CLOSED: "The server does not listen on this port. Check the port, and that the database "
    "runs.",
    Finding.UNREACHABLE: "The network does not lead to this address. Check routes and firewalls.",
    Finding.NO_TLS: "The server does not offer TLS on this port. Switch TLS on there, or choose another "
    "encryption.",
    Finding.WRONG_NAME: "The certificate is for another name. Enter the name that the certificate has.",
    Finding.CERTIFICATE_EXPIRED: "The certificate has expired. Renew it on the server.",
    Finding.CERTIFICATE_EARLY: "The certificate is not valid yet. Check the clocks of both machines.",
    Finding.UNKNOWN_AUTHORITY: "The certificate is from an authority that is not trusted here. Add the "
    "certificate of the authority.",
    Finding.TLS_FAILED: "The server and Keyturn could not agree on TLS 1.2 or newer.",
    Finding.DRIVER_MISSING: "The driver of this technology is not installed.",
    Finding.LOGIN_REFUSED: "The server refused the user or the password. Enter the right ones, or reset the "
    "password there.",
    Finding.UNSAFE_LOGIN: "The server asks for the password in a way that could disclose it. Choose "
    "verify-full.",
    Finding.TOO_MANY_SESSIONS: "The server accepts no more sessions. Try again later.",
    Finding.NO_DATABASE: "There is no such database on the server, or the account may not see it.",
    Finding.DATABASE_REFUSED: "The account may not open this database. Grant it the right to connect.",
    Finding.NOTHING_SEEN: "The account sees no schema. Grant it the right to use those to crawl.",
    Finding.STATEMENT_REFUSED: "The server refused to list schemas and tables. Grant the account the "
    "right to read the catalog.",
    Finding.PASSWORD_UNCHANGED: "The server refused to change the password. The old one works still.",
    Finding.OTHER_PROTOCOL: "The server answers in another protocol. Check the port and the technology.",
    Finding.CONNECTION_LOST: "The server closed the connection.",
    Finding.TOO_SLOW: "The server did not answer in time.",
    Finding.TOO_LARGE: "The server sent more than Keyturn accepts.",
    Finding.CANCELED: "Canceled.",
    Finding.FAILED: "This step failed for a reason that the log has.",
}
"""One sentence, or two, for each finding: what is wrong, and what to do."""

STEP_OF = {
    Finding.LOGIN_REFUSED: Step.LOGIN,
    Finding.UNSAFE_LOGIN: Step.LOGIN,
    Finding.TOO_MANY_SESSIONS: Step.LOGIN,
    Finding.NO_DATABASE: Step.DATABASE,
    Finding.DATABASE_REFUSED: Step.DATABASE,
}
"""Where a finding belongs if a driver takes several steps at once; others are of the step under way."""


class Fault(Exception):
    """A step failed. `note` is for the log: the words of a driver, which nobody else may read."""

    def __init__(self, finding: Finding, note: str = "", *, detail: str = "") -> None:
        super().__init__(f"{finding}: {note}" if note else str(finding))
        self.finding = finding
        self.note = note
        self.detail = detail
        """A few words of Keyturn's own beside the text, such as the name of an extra."""
