"""The technologies of connections, and the fields of each: one table, from which forms and OpenAPI are drawn.

The names of fields and technologies are those of the vendor's payloads. A technology is of one of three
tiers: tests run on the real server, or on a stand-in for it, or the connection is only kept.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Tier(IntEnum):
    """How much Keyturn does with a technology, and how that is known."""

    RUN = 1
    """Tested, crawled and rotated; CI runs it on the real server."""
    EXPECTED = 2
    """Tested and crawled; expected to work, not run against the vendor's server."""
    KEPT = 3
    """Registered, validated, encrypted and read back; neither tested nor crawled."""


class FieldType(StrEnum):
    """The kind of value that a field takes."""

    TEXT = "text"
    HOST = "host"
    PORT = "port"
    CHOICE = "choice"
    FLAG = "flag"
    CERTIFICATES = "certificates"
    """One or several certificates in PEM."""
    OBJECT = "object"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a connection, enough to draw its input and to check its value."""

    name: str
    label: str
    type: FieldType = FieldType.TEXT
    required: bool = False
    is_secret: bool = False
    default: str | int | bool | None = None
    help: str = ""
    choices: tuple[str, ...] = ()
    fields: tuple["Field", ...] = ()
    """The members of an object."""
    max_length: int = 255
    clears_secrets: bool = False
    """Whether another value sends the secrets elsewhere, so that they have to be entered again (rule S4)."""


@dataclass(frozen=True, slots=True)
class AuthenticationType:
    """One way to sign in, with the fields that it adds."""

    name: str
    label: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Technology:
    """A kind of database, as people choose it."""

    name: str
    """As in `technology` of the vendor's payloads."""
    tier: Tier
    fields: tuple[Field, ...]
    authentication_types: tuple[AuthenticationType, ...]
    hierarchy: tuple[str, ...] = ("database", "schema", "table")
    """The levels below the host, as the technology calls them."""
    extra: str | None = None
    """The extra of Keyturn that brings the driver; None if no driver is needed beside the server's own."""
    host_suffixes: tuple[str, ...] = ()
    """Where not empty, hosts are names under one of these."""
    driver_memory: int = 0
    """Bytes of address space that the driver reserves beside what it uses."""
    rotates: bool = False
    """Whether the account's password can be changed from here."""


class TlsMode(StrEnum):
    """How a connection is encrypted (rule O4)."""

    VERIFY_FULL = "verify-full"
    REQUIRE = "require"
    """Encrypted, and nobody knows for whom: the certificate is not checked."""
    DISABLE = "disable"


_HOST = Field(
    "hostname", "Host", FieldType.HOST, required=True, max_length=253, clears_secrets=True,
    help="The name or address of the server, without a scheme, port or path.",
)  # fmt: skip
_USERNAME = Field("username", "User", required=True, clears_secrets=True)
_PASSWORD = Field("password", "Password", required=True, is_secret=True, max_length=1024)
_USER_PASSWORD = AuthenticationType("userPassword", "User and password", (_USERNAME, _PASSWORD))
_CERTIFICATES = Field(
    "tlsCertificate", "Certificates of the authority", FieldType.CERTIFICATES, max_length=65_536,
    clears_secrets=True,
    help="PEM. Leave it empty if the authority is one that this machine trusts.",
)  # fmt: skip
_OAUTH_CLIENT = Field(
    "oAuthClientConfig", "OAuth client", FieldType.OBJECT, required=True,
    fields=(
        Field("clientId", "Client ID", required=True, clears_secrets=True),
        Field("clientSecret", "Client secret", is_secret=True, max_length=4096),
        Field("scope", "Scope", max_length=1024),
        Field("authorityUrl", "Token endpoint", max_length=1024, clears_secrets=True),
        Field("useCertificate", "Sign in with a certificate", FieldType.FLAG, default=False),
        Field("publicCertificateThumbprint", "Thumbprint of the certificate"),
    ),
)  # fmt: skip
_PRIVATE_KEY = Field(
    "privateKey", "Private key", FieldType.OBJECT, required=True,
    fields=(
        Field("filename", "File name"),
        Field("content", "Content", required=True, is_secret=True, max_length=16_384),
    ),
)  # fmt: skip


def _port(default: int) -> Field:
    return Field("port", "Port", FieldType.PORT, default=default, clears_secrets=True)


def _tls(*modes: TlsMode) -> tuple[Field, ...]:
    mode = Field(
        "tlsMode", "Encryption", FieldType.CHOICE, default=TlsMode.VERIFY_FULL.value,
        choices=tuple(each.value for each in modes), clears_secrets=True,
        help="verify-full checks the certificate and the name in it; require checks neither.",
    )  # fmt: skip
    return mode, _CERTIFICATES


def _name(name: str, label: str, *, required: bool = False, help: str = "") -> Field:  # noqa: A002
    return Field(name, label, required=required, help=help)


_DATABASE = _name("database", "Database", required=True)
_OPTIONAL_DATABASE = _name("database", "Database", help="Leave it empty to crawl all that the account sees.")

TECHNOLOGIES = (
    Technology(
        "PostgreSQL", Tier.RUN, (_HOST, _port(5432), _DATABASE, *_tls(*TlsMode)), (_USER_PASSWORD,),
        rotates=True,
    ),
    Technology(
        "MariaDB", Tier.RUN, (_HOST, _port(3306), _OPTIONAL_DATABASE, *_tls(*TlsMode)), (_USER_PASSWORD,),
        hierarchy=("database", "table"), extra="mariadb", rotates=True,
    ),
    Technology(
        "MySQL", Tier.EXPECTED, (_HOST, _port(3306), _OPTIONAL_DATABASE, *_tls(*TlsMode)), (_USER_PASSWORD,),
        hierarchy=("database", "table"), extra="mariadb",
    ),
    Technology(
        "Snowflake", Tier.EXPECTED,
        (
            _HOST, _port(443), _DATABASE,
            _name("warehouse", "Warehouse", required=True), _name("role", "Role"),
        ),
        (
            _USER_PASSWORD,
            AuthenticationType(
                "keyPair", "Key pair",
                (
                    _USERNAME, _PRIVATE_KEY,
                    Field("privateKeyPassword", "Password of the key", is_secret=True, max_length=1024),
                ),
            ),
        ),
        extra="snowflake",
        driver_memory=512 * 2**20, host_suffixes=(".snowflakecomputing.com", ".snowflakecomputing.cn"),
    ),
    Technology(
        "Trino", Tier.EXPECTED,
        (_HOST, _port(443), _name("catalog", "Catalog", required=True),
         *_tls(TlsMode.VERIFY_FULL, TlsMode.REQUIRE)),
        (_USER_PASSWORD,), hierarchy=("catalog", "schema", "table"),
    ),
    Technology(
        "Databricks", Tier.KEPT,
        (_HOST, _port(443), _name("httpPath", "HTTP path", required=True), _name("catalog", "Catalog")),
        (
            AuthenticationType("oAuthM2M", "OAuth client", (_OAUTH_CLIENT,)),
            AuthenticationType(
                "accessToken", "Access token",
                (Field("token", "Token", required=True, is_secret=True, max_length=4096),),
            ),
        ),
        hierarchy=("catalog", "schema", "table"),
    ),
    Technology(
        "Glue", Tier.KEPT, (_name("region", "Region", required=True), _name("catalogId", "Catalog ID")),
        (
            AuthenticationType(
                "accessKey", "Access key",
                (
                    Field("accessKeyId", "Access key ID", required=True, clears_secrets=True),
                    Field("secretAccessKey", "Secret access key", required=True, is_secret=True),
                ),
            ),
            AuthenticationType(
                "iamRole", "IAM role", (Field("roleArn", "ARN of the role", required=True, max_length=2048),)
            ),
        ),
        hierarchy=("database", "table"),
    ),
    Technology("Redshift", Tier.KEPT, (_HOST, _port(5439), _DATABASE, *_tls(*TlsMode)), (_USER_PASSWORD,)),
    Technology(
        "BigQuery", Tier.KEPT, (_name("projectId", "Project", required=True),),
        (
            AuthenticationType(
                "serviceAccountKey", "Key of a service account",
                (Field("keyFile", "Key file (JSON)", required=True, is_secret=True, max_length=16_384),),
            ),
        ),
        hierarchy=("project", "dataset", "table"),
    ),
    Technology("SQL Server", Tier.KEPT, (_HOST, _port(1433), _DATABASE, *_tls(*TlsMode)), (_USER_PASSWORD,)),
    Technology(
        "Oracle", Tier.KEPT,
        (_HOST, _port(2484), _name("serviceName", "Service name", required=True), *_tls(*TlsMode)),
        (_USER_PASSWORD,), hierarchy=("schema", "table"),
    ),
    Technology(
        "Teradata", Tier.KEPT, (_HOST, _port(443), _OPTIONAL_DATABASE, *_tls(*TlsMode)), (_USER_PASSWORD,),
        hierarchy=("database", "table"),
    ),
)  # fmt: skip
"""All of them, in the order in which people are offered them."""

BY_NAME = {each.name: each for each in TECHNOLOGIES}
