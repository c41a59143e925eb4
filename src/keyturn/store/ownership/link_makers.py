"""The makers of links to set a password, and whether they could still make them.

A link lasts for days, and whoever has it has the account for good. So it dies with what made it: a key that
leaked and was revoked must not let anybody in later by the links that it made.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from keyturn.core.audit import Actor
from keyturn.core.permissions import Permission, not_held
from keyturn.store.database.schema import api_key, invitation, user
from keyturn.store.ownership.control import permissions_with

MAKER = (
    invitation.c.user_id,
    invitation.c.maker_user_id,
    invitation.c.maker_key_id,
    invitation.c.maker_epoch,
    invitation.c.maker_password_number,
)
"""The columns of a link that are read."""


def maker_of(actor: Actor) -> dict[str, Any]:
    """Return what is stored of who makes a link, as they are now; nothing of the command line.

    To be stored before the change is recorded: whatever ends the maker until then ends the change.
    """
    if actor.user_id is None:
        return {}
    of_user = select(user.c.epoch).where(user.c.id == actor.user_id).scalar_subquery()
    of_key = select(api_key.c.epoch).where(api_key.c.id == actor.key_id).scalar_subquery()
    is_of_session = actor.key_id is None
    password_number = select(user.c.password_number).where(user.c.id == actor.user_id).scalar_subquery()
    return {
        "maker_user_id": actor.user_id,
        "maker_key_id": actor.key_id,
        "maker_epoch": func.coalesce(of_user, 0) + func.coalesce(of_key, 0),
        "maker_password_number": password_number if is_of_session else None,
    }


def could_be_made(connection: Connection, link: Any, at: datetime) -> bool:
    """Return whether the maker of a link lives at `at`, and may do what they did; so does the command line.

    Once the change is recorded that stays so: from then on no other change comes in between. The maker has
    ended when their account is disabled or gone, or signs out everywhere; their key is revoked, has expired,
    or was rotated without an overlap; their password is another, if they made the link in a session or with
    a token of one; they lost USER_ADMIN, or a permission that comes with the account.
    """
    if link.maker_user_id is None:
        return True
    maker = connection.execute(
        select(
            user.c.epoch,
            user.c.permissions,
            user.c.disabled_at,
            user.c.password_number,
            api_key.c.id.label("key_id"),
            api_key.c.epoch.label("key_epoch"),
            api_key.c.revoked_at,
            api_key.c.expires_at,
        )
        .select_from(user)
        .outerjoin(api_key, (api_key.c.id == link.maker_key_id) & (api_key.c.user_id == user.c.id))
        .where(user.c.id == link.maker_user_id)
    ).one_or_none()
    if maker is None or maker.disabled_at is not None or maker.key_id != link.maker_key_id:
        return False
    if maker.key_id is None:
        is_ended = maker.password_number != link.maker_password_number
    else:
        has_expired = maker.expires_at is not None and maker.expires_at <= at
        is_ended = maker.revoked_at is not None or has_expired
    if is_ended or maker.epoch + (maker.key_epoch or 0) != link.maker_epoch:
        return False
    given = permissions_with(connection, user.c.id == link.user_id)
    return not not_held(frozenset(maker.permissions), {Permission.USER_ADMIN.value, *given})
