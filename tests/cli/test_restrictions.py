"""Binding keys to networks and key pairs on the command line, and the thumbprint that this needs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from joserfc.jwk import ECKey, OKPKey

from keyturn.client import DpopKeyPair
from keyturn.core.permissions import Permission
from keyturn.verifying.origin import Origin
from tests.apis import register
from tests.cli.conftest import Command, opened, refused
from tests.people import chosen_key, holder, restricted

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import RunningServer

JKT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
NETWORKS = ("127.0.0.0/8", "2001:db8::7")
REQUESTS = (
    "--allow-method",
    "POST",
    "--allow-method",
    "GET",
    "--allow-path",
    "/bim",
    "--allow-path",
    "/data/x",
)
BOTH = ("--allow-from", NETWORKS[0], "--allow-from", NETWORKS[1], "--dpop-jkt", JKT)

# Making and listing


def test_a_key_is_bound_over_the_api(configured: Command) -> None:
    """`key create` sends networks and key pair, and the list tells of both, in JSON and in few words."""
    made = json.loads(configured("key", "create", "--name", "bound", *BOTH, "--json").out)
    told = {"allowFrom": ["127.0.0.0/8", "2001:db8::7/128"], "dpopJkt": JKT}
    assert told.items() <= made.items()
    bound, free = json.loads(configured("key", "list", "--json").out)
    assert told.items() <= bound.items()
    assert (free["allowFrom"], free["dpopJkt"]) == (None, None)
    lines = {line.split()[0]: line for line in configured("key", "list").out.splitlines() if line.strip()}
    assert "127.0.0.0/8, 2001:db8::7, key pair 0ZcOCORZ…" in lines[str(bound["id"])]
    assert "key pair" not in lines[str(free["id"])]


def test_a_key_is_bound_in_the_database(run: Command, tmp_path: Path, person: str) -> None:
    """`admin key add` binds a key to networks and a key pair, and `admin key list` tells of both."""
    assert run("admin", "key", "add", "--user", person, *BOTH).code == 0
    with opened(tmp_path) as services:
        (key,) = services.keys.list_of(1)
    assert key.restrictions == restricted(allowFrom=["127.0.0.0/8", "2001:db8::7/128"], dpopJkt=JKT)
    listed = run("admin", "key", "list", "--user", person).out
    assert "127.0.0.0/8, 2001:db8::7, key pair 0ZcOCORZ…" in listed


def test_a_list_tells_all_that_a_key_is_narrowed_to(run: Command, tmp_path: Path, person: str) -> None:
    """Beside networks and key pair `admin key list` says project and scopes: no narrowed key looks free."""
    with opened(tmp_path) as services:
        maker = holder(services, "maker", Permission.CREATE_PROJECT)
        register(services, "orders")
        project = services.projects.add(maker, Origin(), name="Report", description=None)
        for narrowed in ({"project_id": project.project_id}, {"scopes": ["orders:read"]}):
            services.keys.create(maker, Origin(), chosen_key(allowFrom=["192.0.2.0/24"], **narrowed))
    listed = run("admin", "key", "list", "--user", "maker").out
    assert f"project {project.project_id}, 192.0.2.0/24" in listed
    assert "orders:read, 192.0.2.0/24" in listed


@pytest.mark.parametrize(
    "command", [("admin", "key", "add", "--user", "ada"), ("key", "create")], ids=" ".join
)
@pytest.mark.parametrize(
    ("option", "unfit", "told"),
    [
        ("--allow-from", "127.0.0.1/8", "192.0.2.0/24"),
        ("--allow-from", "vpn.example.com", "192.0.2.0/24"),
        ("--allow-from", "", "192.0.2.0/24"),
        ("--allow-from", "192.0.2.1,192.0.2.2", "192.0.2.0/24"),
        ("--dpop-jkt", "", "keyturn thumbprint"),
        ("--dpop-jkt", JKT[:-1], "keyturn thumbprint"),
        ("--dpop-jkt", JKT + "=", "keyturn thumbprint"),
    ],
)
def test_what_is_no_bound_is_a_usage_error(
    run: Command, command: tuple[str, ...], option: str, unfit: str, told: str
) -> None:
    """Before anything is asked or made, the option says how it is written."""
    done = run(*command, option, unfit)
    assert done.code == 2
    assert done.out == ""
    assert told in " ".join(done.err.replace("│", " ").split())


@pytest.mark.parametrize(
    "command", [("admin", "key", "add", "--user", "ada"), ("key", "create")], ids=" ".join
)
@pytest.mark.parametrize(
    ("option", "unfit", "told"),
    [
        ("--allow-method", "get", "in capitals"),
        ("--allow-path", "data", "not a canonical path"),
        ("--allow-path", "/data/", "Leave out the slash"),
        ("--allow-path", "/data/../x", "not a canonical path"),
    ],
)
def test_what_is_no_request_is_a_usage_error(
    configured: Command, command: tuple[str, ...], option: str, unfit: str, told: str
) -> None:
    """Before anything is asked or made, the command says what to write."""
    done = configured(*command, option, unfit)
    assert (done.code, done.out) == (2, "")
    assert told in " ".join(done.err.replace("│", " ").split())


def test_a_key_is_restricted_to_requests(configured: Command) -> None:
    """`key create` sends methods and paths; the list tells of them, in JSON and in few words."""
    made = json.loads(configured("key", "create", "--name", "reads", *REQUESTS, "--json").out)
    told = {"allowMethods": ["GET", "POST"], "allowPaths": ["/bim", "/data/x"]}
    assert told.items() <= made.items()
    (listed, free) = json.loads(configured("key", "list", "--json").out)
    assert told.items() <= listed.items()
    assert (free["allowMethods"], free["allowPaths"]) == (None, None)
    assert "GET, POST, /bim, /data/x" in configured("key", "list").out


def test_a_key_is_restricted_to_requests_in_the_database(run: Command, tmp_path: Path, person: str) -> None:
    """`admin key add` restricts a key alike, and `admin key list` says so."""
    assert run("admin", "key", "add", "--user", person, *REQUESTS).code == 0
    with opened(tmp_path) as services:
        (key,) = services.keys.list_of(1)
    assert key.restrictions == restricted(allowMethods=["GET", "POST"], allowPaths=["/bim", "/data/x"])
    assert "GET, POST, /bim, /data/x" in run("admin", "key", "list", "--user", person).out
    (told,) = json.loads(run("admin", "key", "list", "--user", person, "--json").out)
    assert (told["allowMethods"], told["allowPaths"]) == (["GET", "POST"], ["/bim", "/data/x"])


def test_a_restricted_key_is_rotated(call: Command, server: RunningServer, key: str) -> None:
    """A key that may not ask `/verify` who it is gets its new secret all the same, if it may ask for that."""
    chosen = ("--allow-method", "POST", "--allow-path", "/bim/apikey")
    made = json.loads(call("key", "create", *chosen, "--json", KEYTURN_URL=server.url, KEYTURN_KEY=key).out)
    done = call("key", "rotate", str(made["id"]), KEYTURN_URL=server.url, KEYTURN_KEY=made["apikey"])
    assert (done.code, done.out.startswith("kt_")) == (0, True), done
    again = call("key", "rotate", str(made["id"]), KEYTURN_URL=server.url, KEYTURN_KEY=made["apikey"])
    assert "has expired" in refused(again)


# The thumbprint

PRIVATE = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
PUBLIC = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_the_thumbprint_of_a_key_pair_is_printed(run: Command, tmp_path: Path) -> None:
    """Of a file or of standard input, private or public, in PEM or as a JWK, it is what joserfc says."""
    for key, jwk in (
        (generate_private_key(SECP256R1()), ECKey),
        (Ed25519PrivateKey.generate(), OKPKey),
    ):
        private = key.private_bytes(*PRIVATE)
        public = key.public_key().public_bytes(*PUBLIC)
        known = jwk.import_key(private.decode())
        texts = [private, public, *(json.dumps(known.as_dict(private=it)).encode() for it in (True, False))]
        for number, text in enumerate(texts):
            file = tmp_path / f"{number}.pem"
            file.write_bytes(text)
            expected = (0, known.thumbprint() + "\n", "")
            for done in (run("thumbprint", str(file)), run("thumbprint", stdin=text)):
                assert (done.code, done.out, done.err) == expected


def test_it_is_the_thumbprint_that_the_client_proves(run: Command) -> None:
    """What is printed of the client's own file is its `jkt`, by which a key is bound to it."""
    key_pair = DpopKeyPair.generate()
    assert run("thumbprint", stdin=key_pair.to_pem()).out == f"{key_pair.jkt}\n"
    old = key_pair._private_key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    assert run("thumbprint", stdin=old).out == f"{key_pair.jkt}\n"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"no key",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        generate_private_key(SECP384R1()).private_bytes(*PRIVATE),
        generate_private_key(SECP384R1()).public_key().public_bytes(*PUBLIC),
        generate_rsa_key(65537, 2048).private_bytes(*PRIVATE),
        b"{}",
        b'{"kty": "EC", "crv": "P-256", "x": "AQ", "y": "AQ"}',
        b'{"kty": "EC", "crv": "P-256", "x": "AQ"}',
        b'{"kty": "EC", "crv": "P-384", "x": "AQ", "y": "AQ"}',
        b'{"kty": "OKP", "crv": "Ed25519", "x": "AQ"}',
        '{"kty": "OKP", "crv": "Ed25519", "x": "é"}'.encode(),
        b'{"kty": "EC", "crv": "P-256", "x": "' + b"_" * 5000 + b'", "y": "AQ"}',
        b'{"kty": "OKP", "crv": "Ed25519", "x": "\xff"}',
    ],
)
def test_what_is_no_key_has_no_thumbprint(run: Command, text: bytes) -> None:
    """It is refused in one sentence that says what is wanted."""
    assert refused(run("thumbprint", stdin=text)) == (
        "keyturn: This is not a key on P-256 or Ed25519, in PEM or as a JWK."
    )


def test_a_key_with_a_password_needs_its_public_half(run: Command) -> None:
    """No password is asked for: the sentence says how to get the public key."""
    locked = generate_private_key(SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    assert "openssl pkey" in refused(run("thumbprint", stdin=locked))


def test_a_file_that_cannot_be_read_is_named(run: Command, tmp_path: Path) -> None:
    """The sentence says which file, and why."""
    assert "none.pem cannot be read: No such" in refused(run("thumbprint", str(tmp_path / "none.pem")))
    assert "cannot be read: Is a directory" in refused(run("thumbprint", str(tmp_path)))
