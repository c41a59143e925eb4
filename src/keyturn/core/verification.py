"""The decision: a matched record and the time give a `Principal`, or a refusal that says why.

The caller has matched the whole secret already; only then may a refusal say why. Everything here is a
pure function, so that each rule can be tried at exactly its instant.
"""

from datetime import UTC, datetime

from msgspec.structs import replace

from keyturn.core.access_token import AccessTokenClaims
from keyturn.core.paths import RequestTarget
from keyturn.core.permissions import GUARDED, Permission
from keyturn.core.principal import AuthMethod, Impersonator, PresentedCredential, Principal
from keyturn.core.records import (
    KeyForVerification,
    OwnerRecord,
    SessionForVerification,
    SessionKind,
    SessionLimits,
)
from keyturn.core.scopes import is_scope
from keyturn.errors import ChangeRefused, CredentialRefused, PermissionMissing, Reason, ScopeMissing


def check_api_key(
    record: KeyForVerification | None,
    *,
    now: datetime,
    source: str | None,
    target: RequestTarget | None = None,
) -> KeyForVerification:
    """Return `record` if its key lives and this request may use it; raise `CredentialRefused` otherwise.

    `source` is the address that the request comes from, `target` its method and path; None for not known.
    """
    record = check_key_lives(record, now=now)
    restrictions = record.restrictions
    if restrictions.is_conditional and (fault := restrictions.find_fault(source, target)) is not None:
        raise CredentialRefused(fault, key_id=record.key_id, secret_matched=True)
    return record


def check_key_lives(record: KeyForVerification | None, *, now: datetime) -> KeyForVerification:
    """Return `record` if its key lives at `now`; raise `CredentialRefused` otherwise.

    A key is dead at exactly `expires_at`. Whether this request may use it is not asked.
    """
    if record is None:
        raise CredentialRefused(Reason.UNKNOWN)
    if record.revoked_at is not None:
        raise CredentialRefused(Reason.REVOKED, key_id=record.key_id, secret_matched=True)
    if record.expires_at is not None and record.expires_at <= now:
        raise CredentialRefused(Reason.EXPIRED, key_id=record.key_id, secret_matched=True)
    if record.owner.is_disabled:
        raise CredentialRefused(Reason.OWNER_DISABLED, key_id=record.key_id, secret_matched=True)
    return record


def check_session(
    record: SessionForVerification | None, limits: SessionLimits, *, now: datetime
) -> SessionForVerification:
    """Return `record` if the session lives at `now`; raise `CredentialRefused` otherwise.

    The limits are for browsers: a token is not renewed by use, it has one fixed end.
    """
    if record is None:
        raise CredentialRefused(Reason.UNKNOWN)
    if record.ended_at is not None:
        raise CredentialRefused(Reason.REVOKED, secret_matched=True)
    is_over = record.expires_at <= now
    if record.kind is SessionKind.BROWSER:
        is_over = (
            is_over or record.created_at + limits.absolute <= now or record.last_seen_at + limits.idle <= now
        )
    if is_over:
        raise CredentialRefused(Reason.EXPIRED, secret_matched=True)
    if record.owner.is_disabled:
        raise CredentialRefused(Reason.OWNER_DISABLED, secret_matched=True)
    return record


def check_still_lives(
    caller: Principal, record: KeyForVerification | SessionForVerification | None, *, now: datetime
) -> bool:
    """Judge a caller again whose credential was good before; return whether its secret was replaced since.

    `record` is the present state of the key or session, found by its id. Raise `CredentialRefused` if it is
    dead, and `ChangeRefused` if the owner may do less than when the caller was judged.
    """
    credential, key_id = caller.credential, caller.key_id
    if record is None:
        raise CredentialRefused(Reason.UNKNOWN, key_id=key_id)
    if record.owner.is_disabled:
        raise CredentialRefused(Reason.OWNER_DISABLED, key_id=key_id, secret_matched=True)
    is_former = False
    if isinstance(record, SessionForVerification):
        is_replaced = credential.secret_number not in {None, record.secret_number}
        is_ended = record.ended_at is not None or is_replaced
    else:
        is_ended = record.revoked_at is not None or (
            credential.epoch is not None and credential.epoch < record.token_epoch
        )
        secret_ends_at = end_of_secret(record, credential.secret_number)
        is_former = secret_ends_at is not None
        is_ended = is_ended or (secret_ends_at is not None and secret_ends_at <= now)
    if is_ended:
        raise CredentialRefused(Reason.REVOKED, key_id=key_id, secret_matched=True)
    if any(end is not None and end <= now for end in (credential.ends_at, record.expires_at)):
        raise CredentialRefused(Reason.EXPIRED, key_id=key_id, secret_matched=True)
    if not caller.permissions <= record.owner.permissions:
        raise ChangeRefused("Your permissions were changed just now: try again.")
    return is_former


def check_may_impersonate(held: frozenset[str], subject: frozenset[str]) -> None:
    """Raise `PermissionMissing` unless who holds these permissions may act for who holds those of `subject`.

    An administrator is impersonated by an administrator of the same kind alone.
    """
    if Permission.IMPERSONATE_USER not in held:
        raise PermissionMissing(Permission.IMPERSONATE_USER)
    for guarded in GUARDED:
        if guarded in subject and guarded not in held:
            raise PermissionMissing(guarded)


def check_still_impersonates(
    caller: Principal,
    session: SessionForVerification | None,
    key: KeyForVerification | None,
    *,
    now: datetime,
) -> None:
    """Judge again a caller who acts for somebody, by the present session of the one and key of the other.

    Raise as `check_still_lives` does.
    """
    credential = caller.credential
    if session is None or session.ended_at is not None:
        raise CredentialRefused(Reason.REVOKED, secret_matched=True)
    if session.owner.is_disabled:
        raise CredentialRefused(Reason.OWNER_DISABLED, secret_matched=True)
    key = check_key_lives(key, now=now)
    secret_ends_at = end_of_secret(key, credential.secret_number)
    if (credential.epoch or 0) < key.token_epoch:
        raise CredentialRefused(Reason.REVOKED, secret_matched=True)
    if any(
        end is not None and end <= now for end in (credential.ends_at, session.expires_at, secret_ends_at)
    ):
        raise CredentialRefused(Reason.EXPIRED, secret_matched=True)
    try:
        check_may_impersonate(key.owner.permissions, session.owner.permissions)
    except PermissionMissing:
        raise CredentialRefused(Reason.REVOKED, secret_matched=True) from None
    if not caller.permissions <= _held_by_both(session.owner, key.owner):
        raise ChangeRefused("Your permissions were changed just now: try again.")


def end_of_secret(record: KeyForVerification, number: int | None) -> datetime | None:
    """Return when the secret of this number ends, and every token of it; None for the key's present one.

    Keys and tokens are judged by this one rule. Raise `CredentialRefused` for any but the present secret and
    the one that was rotated away last.
    """
    if number == record.secret_number:
        return None
    if number is None or number != record.former_number or record.former_ends_at is None:
        raise CredentialRefused(Reason.REVOKED, key_id=record.key_id, secret_matched=True)
    return record.former_ends_at


def principal_of_key(
    record: KeyForVerification, *, audience_scopes: frozenset[str] | None = None
) -> Principal:
    """Return who calls with this key.

    `audience_scopes` are those of the registered API that is called, None for the installation itself.
    """
    return _principal(
        record.owner,
        AuthMethod.API_KEY,
        scopes=record.restrictions.scopes,
        audience_scopes=audience_scopes,
        key=record,
        jkt=record.restrictions.jkt,
        credential=presented_key(record),
    )


def principal_of_key_token(
    claims: AccessTokenClaims, record: KeyForVerification, *, audience_scopes: frozenset[str] | None = None
) -> Principal:
    """Return who calls with a token that was made from a key: never wider than the key is now."""
    _check_subject(claims, record.owner)
    if claims.kt_epoch < record.token_epoch:
        raise CredentialRefused(Reason.REVOKED, key_id=record.key_id, secret_matched=True)
    restrictions = record.restrictions
    if restrictions.jkt is not None and claims.jkt != restrictions.jkt:
        raise CredentialRefused(Reason.CLAIMS, key_id=record.key_id)  # No such token was ever given for it.
    granted = _scopes_of(claims)
    if restrictions.scopes is not None:
        granted = restrictions.scopes if granted is None else granted & restrictions.scopes
    return _principal(
        record.owner,
        AuthMethod.ACCESS_TOKEN,
        scopes=granted,
        audience_scopes=audience_scopes,
        key=record,
        jkt=claims.jkt,
        credential=presented_key_token(claims, record),
    )


def principal_of_session_token(
    claims: AccessTokenClaims,
    record: SessionForVerification,
    *,
    audience_scopes: frozenset[str] | None = None,
) -> Principal:
    """Return who calls with a token that was given for a password."""
    _check_subject(claims, record.owner)
    return _principal(
        record.owner,
        AuthMethod.ACCESS_TOKEN,
        scopes=_scopes_of(claims),
        audience_scopes=audience_scopes,
        jkt=claims.jkt,
        credential=PresentedCredential(
            min(claims.expires_at, record.expires_at),
            session_id=claims.kt_session,
            jti=claims.jti,
            issued_at=datetime.fromtimestamp(claims.iat, UTC),
        ),
    )


def principal_of_impersonation(
    claims: AccessTokenClaims, key: KeyForVerification, session: SessionForVerification
) -> Principal:
    """Return who calls with a token that acts for the owner of `session`: never wider than both accounts are.

    `key` is that of the account which acts. It must carry all that its owner may do, and that must include
    to act for this user, now as when the token was made. At a registered API it covers nothing.
    """
    _check_subject(claims, session.owner)
    if claims.act is None or claims.act.sub != str(key.owner.user_id):
        raise CredentialRefused(Reason.CLAIMS)
    if claims.kt_epoch < key.token_epoch:
        raise CredentialRefused(Reason.REVOKED, secret_matched=True)
    restrictions = key.restrictions
    is_narrowed = restrictions.scopes is not None or key.project_id is not None
    if is_narrowed or (restrictions.jkt is not None and claims.jkt != restrictions.jkt):
        raise CredentialRefused(Reason.CLAIMS)  # No such token was ever given for it.
    try:
        check_may_impersonate(key.owner.permissions, session.owner.permissions)
    except PermissionMissing:
        raise CredentialRefused(Reason.REVOKED, secret_matched=True) from None
    presented = presented_key_token(claims, key)
    return Principal(
        user_id=session.owner.user_id,
        userid=session.owner.userid,
        iamid=session.owner.iamid,
        name=session.owner.name,
        permissions=_held_by_both(session.owner, key.owner),
        scopes=None,
        method=AuthMethod.ACCESS_TOKEN,
        key_id=None,
        project_id=None,
        withheld=session.owner.withheld | key.owner.withheld,
        jkt=claims.jkt,
        credential=replace(
            presented,
            ends_at=_sooner(presented.ends_at, session.expires_at),
            session_id=session.session_id,
        ),
        requests=restrictions.requests,
        impersonator=Impersonator(key.owner.user_id, key.owner.userid, key.key_id),
    )


def _held_by_both(subject: OwnerRecord, actor: OwnerRecord) -> frozenset[str]:
    return subject.permissions & actor.permissions


def powerless(
    key: KeyForVerification, method: AuthMethod, *, jkt: str | None, credential: PresentedCredential
) -> Principal:
    """Return who holds a credential that covers nothing where it is shown: to be refused, never answered."""
    owner = key.owner
    return Principal(
        user_id=owner.user_id,
        userid=owner.userid,
        iamid=owner.iamid,
        name=owner.name,
        permissions=frozenset(),
        scopes=frozenset(),
        method=method,
        key_id=key.key_id,
        project_id=None,
        withheld=owner.withheld,
        jkt=jkt,
        credential=credential,
        requests=key.restrictions.requests,
        impersonator=None,
    )


def presented_key(record: KeyForVerification) -> PresentedCredential:
    """Return what is known of a key, or of its former secret, that was presented."""
    if not record.is_by_former_secret:
        return PresentedCredential(record.expires_at, secret_number=record.secret_number)
    secret_ends_at = end_of_secret(record, record.former_number)
    return PresentedCredential(
        _sooner(record.expires_at, secret_ends_at),
        is_former_secret=True,
        secret_number=record.former_number,
    )


def presented_key_token(claims: AccessTokenClaims, record: KeyForVerification) -> PresentedCredential:
    """Return what is known of a token of a key; raise `CredentialRefused` if the secret that made it is dead.

    A token of a former secret is a former one too.
    """
    secret_ends_at = end_of_secret(record, claims.kt_secret)
    return PresentedCredential(
        _sooner(claims.expires_at, _sooner(record.expires_at, secret_ends_at)),
        is_former_secret=secret_ends_at is not None,
        jti=claims.jti,
        issued_at=datetime.fromtimestamp(claims.iat, UTC),
        epoch=claims.kt_epoch,
        secret_number=claims.kt_secret,
    )


def _sooner(one: datetime | None, other: datetime | None) -> datetime | None:
    """Return the sooner of two ends, of which None is never."""
    if one is None or other is None:
        return one or other
    return min(one, other)


def check_sender(principal: Principal, jkt: str | None) -> None:
    """Raise `CredentialRefused` if the credential is bound to another key pair than `jkt`, that of the proof.

    None for no proof. A credential that is bound to none may come with any (RFC 9449, section 7.1).
    """
    if principal.jkt not in {None, jkt}:
        raise CredentialRefused(Reason.SENDER, key_id=principal.acts_by_key_id, secret_matched=True)


def principal_of_session(record: SessionForVerification) -> Principal:
    """Return who is signed in."""
    credential = PresentedCredential(
        record.expires_at, session_id=record.session_id, secret_number=record.secret_number
    )
    return _principal(record.owner, AuthMethod.SESSION, scopes=None, credential=credential)


def scopes_at(
    scopes: frozenset[str] | None,
    audience_scopes: frozenset[str] | None,
    withheld: frozenset[str],
    *,
    key_id: int | None = None,
    is_linked: bool = False,
) -> frozenset[str] | None:
    """Return what a credential with these scopes covers at an API, None for whatever its owner may do.

    At a registered API, whose scopes are `audience_scopes`, that is always said in full. A key that is linked
    to a project covers no scope, whether its owner is in the project still or not. Raise `ScopeMissing` if it
    is nothing there, and `CredentialRefused` if its owner may hold nothing of it anywhere.
    """
    if audience_scopes is not None:
        held = (audience_scopes if scopes is None else scopes & audience_scopes) - withheld
        if is_linked or not held:
            raise ScopeMissing
        return held
    if scopes is None:
        return None
    held = scopes - withheld
    if scopes and (is_linked or not held):
        raise CredentialRefused(Reason.WITHHELD, key_id=key_id, secret_matched=True)
    return held


def _scopes_of(claims: AccessTokenClaims) -> frozenset[str] | None:
    """Return the scopes of a token, None only for the empty text: it is not narrowed (RFC 6749, 3.3)."""
    if claims.scope == "":
        return None
    scopes = claims.scope.split(" ")
    if not all(map(is_scope, scopes)):
        raise CredentialRefused(Reason.CLAIMS)
    return frozenset(scopes)


def _check_subject(claims: AccessTokenClaims, owner: OwnerRecord) -> None:
    if claims.sub != str(owner.user_id):
        raise CredentialRefused(Reason.CLAIMS)


def _principal(
    owner: OwnerRecord,
    method: AuthMethod,
    *,
    scopes: frozenset[str] | None,
    audience_scopes: frozenset[str] | None = None,
    key: KeyForVerification | None = None,
    jkt: str | None = None,
    credential: PresentedCredential,
) -> Principal:
    key_id = None if key is None else key.key_id
    if scopes is not None and not scopes:
        # It covers nothing, and must never be taken for one that is not narrowed.
        raise CredentialRefused(Reason.CLAIMS, key_id=key_id)
    project_id = None if key is None else key.project_id
    scopes = scopes_at(
        scopes, audience_scopes, owner.withheld, key_id=key_id, is_linked=project_id is not None
    )
    return Principal(
        user_id=owner.user_id,
        userid=owner.userid,
        iamid=owner.iamid,
        name=owner.name,
        permissions=owner.permissions,
        scopes=scopes,
        method=method,
        key_id=key_id,
        project_id=project_id,
        withheld=owner.withheld,
        jkt=jkt,
        credential=credential,
        requests=None if key is None else key.restrictions.requests,
        impersonator=None,
    )
