"""Keys: made, shown once, listed, and dead when revoked."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from keyturn.composition import Services, open_services
from keyturn.core.lifetimes import Lifetime
from keyturn.core.principal import Principal
from keyturn.errors import Conflict, CredentialRefused, InvalidInput, KeyturnError, NotFound, Reason
from keyturn.services.keys.keys import CreatedKey, NewKey
from keyturn.services.people.identity.passwords import CHEAPEST
from keyturn.settings import read_settings
from keyturn.verifying.origin import COMMAND_LINE, Origin
from tests.conftest import Opener
from tests.fakes import Clock
from tests.people import HERE, actions, add_person, caller, chosen_key, is_accepted, new_key, person
from tests.store.crowds import all_at_once, before_change

MILLISECOND = timedelta(milliseconds=1)
NEVER = Lifetime(None)
FOREIGN = "3f9c2b7e81d04a56b7c9e0f1a2d3c4b5"


def create(services: Services, who: Principal, **given: object) -> CreatedKey:
    how = {name: given.pop(name) for name in ("for_user", "replaces_on_retry") if name in given}
    return services.keys.create(who, HERE, chosen_key(**({"name": "laptop"} | given)), **how)  # type: ignore[arg-type]


def exchanged(services: Services, secret: str) -> str:
    return services.exchange.exchange(in_header=[secret.encode()], in_body=None, origin=HERE).token


def test_a_new_key_opens_its_maker_s_account(services: Services, bob: Principal) -> None:
    """A new key is its maker's: same person, same permissions, and says which key it was."""
    made = create(services, bob)

    who = caller(services, made.secret)

    assert (who.user_id, who.userid, who.permissions) == (bob.user_id, "bob", bob.permissions)
    assert (who.key_id, who.scopes) == (made.record.key_id, None)


def test_a_secret_is_seen_once(services: Services, bob: Principal) -> None:
    """No list, repr or audit row holds a secret: only what tells keys apart (K7)."""
    made = create(services, bob)
    masked = f"kt_{made.secret.split('_')[1]}_…{made.secret[-4:]}"

    listed = services.keys.list_own(bob)

    assert [key.masked for key in listed] == [masked]
    assert made.secret not in repr(made)
    for told in (
        listed,
        services.keys.get_own(bob, made.record.key_id),
        services.store.audit_log.list_after(),
    ):
        assert made.secret.split("_")[2][:-4] not in repr(told)
    assert "digest" not in set(listed[0].__struct_fields__)


def test_a_key_lives_a_year_unless_told(services: Services, bob: Principal, clock: Clock) -> None:
    """Without a choice a key ends after 365 days, at exactly that instant (K8)."""
    made = create(services, bob)
    assert made.record.expires_at == clock.now + timedelta(days=365)

    clock.advance(timedelta(days=365) - MILLISECOND)
    assert is_accepted(services, made.secret)
    clock.advance(MILLISECOND)
    with pytest.raises(CredentialRefused) as refused:
        caller(services, made.secret)

    assert refused.value.reason is Reason.EXPIRED
    assert refused.value.secret_matched


def test_never_is_a_choice_that_is_written_down(services: Services, bob: Principal, clock: Clock) -> None:
    """A key without expiry is made only on request, and the audit log says so (K8)."""
    made = create(services, bob, lifetime=NEVER)

    assert made.record.expires_at is None
    assert services.store.audit_log.list_after(limit=1000)[-1].details["expires"] == "never"
    clock.advance(timedelta(days=100 * 365))
    assert is_accepted(services, made.secret)


def test_never_can_be_forbidden(services: Services, bob: Principal, reopen: Opener) -> None:
    """Where keys without expiry are forbidden, none is made by any way, and nothing is written (K8)."""
    strict = reopen(allow_keys_without_expiry=False)
    before = actions(strict)

    for make in (
        lambda: create(strict, bob, lifetime=NEVER),
        lambda: strict.keys.create_for(bob.user_id, COMMAND_LINE, NewKey(None, NEVER)),
        lambda: strict.keys.import_foreign(
            bob.user_id, COMMAND_LINE, text=FOREIGN, name=None, lifetime=NEVER
        ),
    ):
        with pytest.raises(InvalidInput) as refused:
            make()
        assert refused.value.field == "expiresAt"

    assert actions(strict) == before
    assert create(strict, bob).record.expires_at is not None


def test_the_default_life_is_a_setting(
    services: Services, bob: Principal, reopen: Opener, clock: Clock
) -> None:
    """An installation sets how long keys live by default."""
    assert create(reopen(key_life_days=7), bob).record.expires_at == clock.now + timedelta(days=7)


def test_keys_with_a_former_prefix_work(services: Services, bob: Principal, reopen: Opener) -> None:
    """A change of `KEYTURN_KEY_PREFIX` is for new keys: those with the former prefix keep working."""
    former = create(services, bob).secret
    renamed = reopen(key_prefix="acme")
    new = create(renamed, bob).secret
    assert former.startswith("kt_")
    assert new.startswith("acme_")
    assert is_accepted(renamed, former)
    assert is_accepted(renamed, new)


def test_a_key_is_not_born_dead(services: Services, bob: Principal, clock: Clock) -> None:
    """An expiry of now or earlier is refused."""
    for past in (clock.now, clock.now - MILLISECOND, clock.now - timedelta(days=9999)):
        with pytest.raises(InvalidInput) as refused:
            create(services, bob, lifetime=Lifetime(past))
        assert refused.value.field == "expiresAt"
    assert services.keys.list_own(bob).items == ()
    assert is_accepted(services, create(services, bob, lifetime=Lifetime(clock.now + MILLISECOND)).secret)


def test_a_retry_does_not_give_a_short_lived_key_a_long_life(
    services: Services, bob: Principal, clock: Clock
) -> None:
    """A key made with a key, by a retry too, ends no later than that key (A3, D5)."""
    create(services, bob, lifetime=NEVER, idempotency_key="once")
    end = clock.now + timedelta(hours=1)
    short = create(services, bob, lifetime=Lifetime(end)).secret

    try:
        gained = create(services, caller(services, short), lifetime=None, idempotency_key="once")
    except Conflict:
        return

    assert gained.record.expires_at is not None
    assert gained.record.expires_at <= end


def test_names_are_one_line_of_text(services: Services, bob: Principal) -> None:
    """A key's name has up to 254 characters; white space around it, and white space alone, is no name."""
    named = {"x" * 254: "x" * 254, "🔑" * 254: "🔑" * 254, "  laptop ": "laptop", " \t\n ": None, "": None}
    for given, kept in {**named, "<b>&'\"": "<b>&'\""}.items():
        made = create(services, bob, name=given).record
        assert made.name == kept
        assert services.keys.get_own(bob, made.key_id).name == kept
    assert create(services, bob, name=None).record.name is None


def test_unfit_names_are_refused(services: Services, bob: Principal) -> None:
    """A name that is too long, or holds control characters or no text, makes no key."""
    for name in (
        "x" * 255,
        "a\x00b",
        "\x00",
        "a\nb",
        "a\r\nb",
        "a\x1b[31mb",
        "a\x7fb",
        "a\x85b",
        "\ud800",
        "a\udfffb",
    ):
        with pytest.raises(InvalidInput) as refused:
            create(services, bob, name=name)
        assert refused.value.field == "name"
    assert services.keys.list_own(bob).items == ()


def test_a_revoked_key_is_dead_with_its_tokens(services: Services, bob: Principal, reopen: Opener) -> None:
    """A revoked key and every token made from it are refused on the next call, on each node (R1, R7)."""
    made = create(services, bob)
    token = exchanged(services, made.secret)
    node = reopen()
    assert is_accepted(services, token)
    assert is_accepted(node, token)

    services.keys.revoke_own(bob, made.record.key_id, HERE)

    for server in (services, node, reopen()):
        with pytest.raises(CredentialRefused) as refused:
            caller(server, made.secret)
        assert refused.value.reason is Reason.REVOKED
        assert not is_accepted(server, token)
        with pytest.raises(CredentialRefused):
            exchanged(server, made.secret)
    assert actions(services).count("ApiKeyDeleted") == 1


def test_an_expired_key_takes_its_tokens_along(services: Services, bob: Principal, clock: Clock) -> None:
    """No token is accepted after its key has ended."""
    made = create(services, bob, lifetime=Lifetime(clock.now + timedelta(seconds=30)))
    token = exchanged(services, made.secret)
    clock.advance(timedelta(seconds=30) - MILLISECOND)
    assert is_accepted(services, token)

    clock.advance(MILLISECOND)

    assert not is_accepted(services, token)


def test_somebody_else_s_key_is_not_found(services: Services, bob: Principal) -> None:
    """A foreign key, an absent one and an impossible id are refused alike, and nothing happens (A2)."""
    made = create(services, bob)
    add_person(services, "eve")
    eve = person(services, "eve")
    before = actions(services)

    refusals = set()
    for key_id in (
        made.record.key_id,
        made.record.key_id + 1000,
        0,
        -1,
        2**31,
        2**63 - 1,
        2**63,
        -(2**63),
        10**50,
    ):
        for ask in (
            lambda key_id=key_id: services.keys.get_own(eve, key_id),
            lambda key_id=key_id: services.keys.revoke_own(eve, key_id, HERE),
        ):
            with pytest.raises(NotFound) as refused:
                ask()
            refusals.add(str(refused.value))

    assert len(refusals) == 1
    assert actions(services) == before
    assert is_accepted(services, made.secret)
    assert services.keys.list_own(eve).items == ()


def test_a_key_is_revoked_once(services: Services, bob: Principal) -> None:
    """A second revoke finds nothing to end; the key stays in the list."""
    made = create(services, bob)
    services.keys.revoke_own(bob, made.record.key_id, HERE)

    with pytest.raises(NotFound):
        services.keys.revoke_own(bob, made.record.key_id, HERE)

    assert [key.key_id for key in services.keys.list_own(bob)] == [made.record.key_id]


def test_the_command_line_reaches_every_key(services: Services, bob: Principal) -> None:
    """An administrator makes and ends anybody's key by id, and is told when there is none."""
    made = services.keys.create_for(bob.user_id, COMMAND_LINE, NewKey())
    assert caller(services, made.secret).userid == "bob"

    services.keys.revoke_any(made.record.key_id, COMMAND_LINE)

    assert not is_accepted(services, made.secret)
    for key_id in (made.record.key_id, 10**9, -1, 0, 2**63, 10**50):
        with pytest.raises(NotFound):
            services.keys.revoke_any(key_id, COMMAND_LINE)


def test_a_key_for_nobody_is_not_called_a_duplicate(services: Services, bob: Principal) -> None:
    """A key for a user who is not there is refused, but not as one that exists already."""
    for make in (
        lambda: services.keys.create_for(bob.user_id + 99, COMMAND_LINE, NewKey()),
        lambda: services.keys.import_foreign(
            bob.user_id + 99, COMMAND_LINE, text=FOREIGN, name=None, lifetime=None
        ),
    ):
        with pytest.raises(KeyturnError) as refused:
            make()
        assert "already" not in str(refused.value)


# Keys from elsewhere


def import_foreign(services: Services, who: Principal, text: str) -> int:
    return services.keys.import_foreign(
        who.user_id, COMMAND_LINE, text=text, name="old", lifetime=None
    ).key_id


def test_a_foreign_key_is_used_as_any_other(services: Services, bob: Principal) -> None:
    """A key from elsewhere is accepted, exchanged, listed without its secret, and revoked."""
    key_id = import_foreign(services, bob, FOREIGN)

    assert caller(services, FOREIGN).key_id == key_id
    token = exchanged(services, FOREIGN)
    assert services.exchange.exchange(in_header=[], in_body=FOREIGN, origin=HERE).key_id == key_id
    (listed,) = services.keys.list_own(bob)
    assert listed.masked == "…c4b5"
    assert FOREIGN[:8] not in repr(services.store.audit_log.list_after(limit=1000))
    assert actions(services)[-1] == "ApiKeyImported"

    services.keys.revoke_own(bob, key_id, HERE)
    assert not is_accepted(services, FOREIGN)
    assert not is_accepted(services, token)


def test_a_foreign_key_is_matched_whole(services: Services, bob: Principal) -> None:
    """Case, length and every character of a foreign key count (K5)."""
    import_foreign(services, bob, FOREIGN)

    for other in (FOREIGN.upper(), FOREIGN[:-1], FOREIGN + "0", FOREIGN[:-1] + "6", "0" + FOREIGN):
        assert not is_accepted(services, other)


def test_a_foreign_key_is_imported_once(services: Services, bob: Principal) -> None:
    """A key that is known, for whomever, alive or dead, is not taken over again."""
    key_id = import_foreign(services, bob, FOREIGN)
    eve = add_person(services, "eve")
    services.keys.revoke_any(key_id, COMMAND_LINE)

    for user_id in (bob.user_id, eve.user_id):
        with pytest.raises(InvalidInput) as refused:
            services.keys.import_foreign(user_id, COMMAND_LINE, text=FOREIGN, name=None, lifetime=None)
        assert refused.value.field == "apikey"

    assert not is_accepted(services, FOREIGN)


def test_a_weak_foreign_key_is_refused(services: Services, bob: Principal) -> None:
    """What can be guessed, or cannot be a key, is not taken over, and is not repeated (K1)."""
    own = create(services, bob).secret
    weak = (
        "",
        "password",
        "a" * 64,
        "0123456789012345678901",
        "ab" * 20,
        "0123456789abcdef" * 1 + "0123",
        "x" * 129,
        "kt_" + "A1b2C3d4" * 5,
        own,
        FOREIGN + "\n",
        " " + FOREIGN,
        "é" * 40,
        "\ud800" * 40,
        "٣" * 40,
        "a.b.c" + FOREIGN,
    )
    for text in weak:
        with pytest.raises(InvalidInput) as refused:
            import_foreign(services, bob, text)
        assert refused.value.field == "apikey"
        assert not text or text not in str(refused.value)


# Retries


def test_a_retry_finds_the_same_key(services: Services, bob: Principal) -> None:
    """A retry with the same Idempotency-Key gives the same key a new secret for the lost one (D5)."""
    lost = create(services, bob, idempotency_key="once")
    again = create(services, bob, idempotency_key="once")

    assert again.record.key_id == lost.record.key_id
    assert len(services.keys.list_own(bob)) == 1
    assert is_accepted(services, again.secret)
    assert not is_accepted(services, lost.secret)
    assert actions(services)[-2:] == ["ApiKeyCreated", "ApiKeyReplaced"]


def test_a_retry_can_be_refused_instead(services: Services, bob: Principal) -> None:
    """Where a secret must not be replaced, the second use of an Idempotency-Key is a Conflict."""
    made = create(services, bob, idempotency_key="once")

    with pytest.raises(Conflict):
        create(services, bob, idempotency_key="once", replaces_on_retry=False)

    assert is_accepted(services, made.secret)


def test_an_idempotency_key_is_for_one_key(services: Services, bob: Principal, clock: Clock) -> None:
    """With another name, or once the key is dead, the same Idempotency-Key is a Conflict (D5)."""
    made = create(services, bob, idempotency_key="revoked")
    services.keys.revoke_own(bob, made.record.key_id, HERE)
    create(services, bob, idempotency_key="named")

    with pytest.raises(Conflict):
        create(services, bob, idempotency_key="revoked")
    with pytest.raises(Conflict):
        create(services, bob, idempotency_key="named", name="other")
    assert len(services.keys.list_own(bob)) == 2


def test_a_retry_never_gives_a_dead_key(services: Services, bob: Principal, clock: Clock) -> None:
    """What a creation answers with is accepted: a retry for a key that has expired is a Conflict (D5)."""
    end = Lifetime(clock.now + timedelta(hours=1))
    create(services, bob, lifetime=end, idempotency_key="once")
    clock.advance(timedelta(hours=2))

    try:
        again = create(services, bob, idempotency_key="once")
    except Conflict:
        return

    assert is_accepted(services, again.secret)


def test_an_idempotency_key_is_its_user_s(services: Services, bob: Principal) -> None:
    """Another person's Idempotency-Key finds nothing of one's own."""
    made = create(services, bob, idempotency_key="once")
    add_person(services, "eve")

    theirs = create(services, person(services, "eve"), idempotency_key="once")

    assert theirs.record.key_id != made.record.key_id
    assert is_accepted(services, made.secret)


def test_an_unfit_idempotency_key_is_refused(services: Services, bob: Principal) -> None:
    """An Idempotency-Key has 1 to 200 characters."""
    for idempotency_key in (
        "",
        "x" * 201,
    ):
        with pytest.raises(InvalidInput):
            create(services, bob, idempotency_key=idempotency_key)
        create(services, bob, idempotency_key="x" * 200)


def test_fifty_retries_at_once_make_one_key(services: Services, bob: Principal) -> None:
    """Fifty creations at once with one Idempotency-Key make one key, and one secret opens it (D5, R10)."""
    made = all_at_once(50, lambda _: create(services, bob, idempotency_key="once"))

    assert [outcome for outcome in made if not isinstance(outcome, CreatedKey)] == []
    keys = [outcome for outcome in made if isinstance(outcome, CreatedKey)]
    assert {key.record.key_id for key in keys} == {key.key_id for key in services.keys.list_own(bob)}
    assert len({key.record.key_id for key in keys}) == 1
    assert [is_accepted(services, key.secret) for key in keys].count(True) == 1


def test_a_repeated_draw_replaces_nothing(
    database: str, services: Services, bob: Principal, clock: Clock, root_key_file: Path
) -> None:
    """If the same secret were ever drawn twice, the second creation fails: no key is answered with again."""
    broken = replace(clock.system(), random_bytes=lambda count: bytes(n * 7 % 248 for n in range(count)))
    settings = read_settings({"KEYTURN_DATABASE": database}, root_key_file=root_key_file)
    node = open_services(settings, broken, hashing=CHEAPEST)
    create(node, bob)

    with pytest.raises(Conflict):
        create(node, bob)

    assert "ApiKeyReplaced" not in actions(services)
    node.close()


def test_the_last_use_is_shown_at_once(services: Services, bob: Principal, clock: Clock) -> None:
    """A use shows in the list right away, before it is written, and after it (K7)."""
    made = create(services, bob)
    assert services.keys.get_own(bob, made.record.key_id).last_use is None
    origin = Origin(address="10.1.2.3", user_agent="curl", via="GET /x")

    services.authenticator.authenticate([made.secret.encode()], origin)

    for _ in "ab":
        use = services.keys.get_own(bob, made.record.key_id).last_use
        assert use is not None
        assert (use.at, use.address, use.agent, use.via) == (clock.now, "10.1.2.3", "curl", "GET /x")
        assert services.keys.list_own(bob)[0].last_use == use
        services.usage.flush(everything=True)


def test_fault_a9_a_maker_who_is_revoked_replaces_no_secret(services: Services, bob: Principal) -> None:
    """A key that was revoked after it asked for the key of an earlier call wins no new secret of it."""
    maker = new_key(services, bob)
    made = new_key(services, caller(services, maker.secret), idempotency_key="once")
    before_change(services.store, lambda: services.keys.revoke_own(bob, maker.record.key_id, HERE), number=2)

    with pytest.raises(CredentialRefused):
        new_key(services, caller(services, maker.secret), idempotency_key="once")

    assert is_accepted(services, made.secret)
