"""Tokens that act for somebody: for a service which does the work of many people.

Such a token stands on two accounts. It ends with the key that it was made with and with a session of the
person, who sees it among theirs and can end it. It carries the permissions that both hold.
"""

from datetime import timedelta

from keyturn.core.audit import AuditAction, AuditEntry, Target
from keyturn.core.dpop import PresentedProof
from keyturn.core.people import UserKind, UserRecord
from keyturn.core.principal import AuthMethod
from keyturn.core.records import SessionKind
from keyturn.core.verification import check_may_impersonate
from keyturn.errors import CredentialRefused, InvalidInput, Reason
from keyturn.services.people.sessions import digest_session_token, new_session_token
from keyturn.services.people.users import Users
from keyturn.services.text import checked_text
from keyturn.services.tokens.issuer import IssuedToken, TokenIssuer
from keyturn.store import Store
from keyturn.store.people.sessions import SessionToAdd
from keyturn.system import System
from keyturn.verifying.authenticator import Authenticator
from keyturn.verifying.origin import Origin, actor_of

MAX_NAME_CHARACTERS = 254
LIFE = timedelta(hours=1)
"""The longest life of such a token."""


class Impersonation:
    """Gives tokens that act for somebody."""

    def __init__(
        self,
        store: Store,
        *,
        authenticator: Authenticator,
        issuer: TokenIssuer,
        users: Users,
        token_life: timedelta,
        system: System,
    ) -> None:
        self._store = store
        self._authenticator = authenticator
        self._issuer = issuer
        self._users = users
        self._life = min(LIFE, token_life)
        self._system = system

    def impersonate(
        self,
        key: str,
        iamid: str | None,
        userid: str,
        origin: Origin,
        presented: PresentedProof | None = None,
    ) -> IssuedToken:
        """Return a token with which the owner of this key acts for a person, for an hour at most.

        `iamid` names the identity provider of the person; None for the built-in one.

        With a proof of possession, `presented`, it is bound to its key pair. Raise `CredentialRefused` for
        anything but a living key, `PermissionMissing` for one that does not carry IMPERSONATE_USER and for a
        person who holds an administrator's permission that it does not carry, `NotFound` for nobody, and
        `InvalidInput` for an account that nobody can act for.
        """
        proofs = self._authenticator.proofs
        proof = None if presented is None else proofs.check(presented, credential=None)
        known = self._authenticator.verify_presented(key.encode("utf-8", "surrogatepass"), origin, proof)
        caller, record = known.principal, known.dependency.key
        if caller.method is not AuthMethod.API_KEY or record is None:
            raise CredentialRefused(Reason.MALFORMED)
        if proof is not None:
            proofs.use(proof)
        check_may_impersonate(caller.carried_permissions, frozenset())
        for field, text in (("iamid", iamid), ("userid", userid)):
            checked_text(field, text, max_characters=MAX_NAME_CHARACTERS)
        person = self._users.get_by_userid(iamid, userid)
        self._check_person(person, caller.user_id)
        check_may_impersonate(caller.carried_permissions, person.permissions)
        now = self._system.now()
        end = now + self._life
        session = SessionToAdd(
            user_id=person.user_id,
            digest=digest_session_token(new_session_token(self._system)),
            kind=SessionKind.TOKEN,
            created_at=now,
            expires_at=end if known.end is None else min(end, known.end),
            address=origin.address,
            user_agent=origin.user_agent,
            impersonator_id=caller.user_id,
        )
        audit = AuditEntry(
            now,
            AuditAction.USER_IMPERSONATED,
            actor_of(caller, origin),
            Target.USER,
            str(person.user_id),
        )
        return self._issuer.for_impersonation(
            record,
            session_id=self._store.logins.record_further_session(session, audit),
            user_id=person.user_id,
            made_with=caller.credential,
            not_after=session.expires_at,
            jkt=None if proof is None else proof.jkt,
        )

    def _check_person(self, person: UserRecord, caller_id: int) -> None:
        if person.user_id == caller_id:
            raise InvalidInput("userid", "This is your own account: use the key itself.")
        if person.kind is not UserKind.PERSON:
            raise InvalidInput("userid", f"{person.userid} is not a person: make a key for the account.")
        if person.is_disabled:
            raise InvalidInput("userid", f"{person.userid} is suspended: nobody can act for them.")
