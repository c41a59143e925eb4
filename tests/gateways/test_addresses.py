"""Where a client is, the gateway says, and nobody else (H10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keyturn.services.keys.keys import NewKey
from keyturn.verifying.origin import COMMAND_LINE
from tests.gateways.conftest import BOB
from tests.people import restricted

if TYPE_CHECKING:
    from tests.gateways.conftest import Scene

HERE, THERE = "127.0.0.1", "127.0.0.2"
CLAIMS = (
    ("X-Forwarded-For: 127.0.0.2",),
    ("X-Forwarded-For: 127.0.0.2, 127.0.0.2",),
    ("X-Forwarded-For: 127.0.0.2", "X-Forwarded-For: 127.0.0.2"),
    ("X_Forwarded_For: 127.0.0.2",),
    ("X-Real-IP: 127.0.0.2", "Forwarded: for=127.0.0.2", "True-Client-IP: 127.0.0.2"),
    ("Connection: close, X-Forwarded-For", "X-Forwarded-For: 127.0.0.2"),
)


def test_the_networks_of_a_key_hold_behind_the_gateway(scene: Scene) -> None:
    """A key that is bound to a network passes from there alone, whatever its bearer says of where it is."""
    bound = scene.site.services.keys.create_for(
        scene.site.users[BOB].user_id,
        COMMAND_LINE,
        NewKey(restrictions=restricted(allowFrom=["127.0.0.2/32"])),
    )
    for lines in ((), *CLAIMS):
        for _ in range(2):
            refused = scene.refused("/reports/1", bound.secret, *lines, source=HERE)
            if refused.status == 400:
                assert scene.gateway.name == "Envoy", "which refuses that header in `Connection` altogether"
                assert lines == CLAIMS[-1]
                continue
            assert refused.status == 401
            got = scene.passed("/reports/1", bound.secret, *lines, source=THERE)
            assert got.values("x-forwarded-for") == [THERE]


def test_the_last_use_of_a_key_shows_its_client(scene: Scene) -> None:
    """What the owner sees of a key is the address of the client, not of the gateway."""
    key = scene.site.key(BOB)
    scene.passed(
        "/reports/1", key.secret, "X-Forwarded-For: 203.0.113.9", "User-Agent: robot/1", source=THERE
    )
    use = scene.site.services.usage.latest(key.record)
    assert use is not None
    assert (use.address, use.via, use.agent) == (THERE, "GET /verify", "robot/1")
