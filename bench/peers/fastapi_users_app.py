"""fastapi-users with the database strategy: opaque tokens in an SQLite table, as documented."""

# mypy: ignore-errors
# Its packages are in .venv-bench, where mypy does not look.

import secrets
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI
from fastapi_users import BaseUserManager, FastAPIUsers, UUIDIDMixin
from fastapi_users.authentication import AuthenticationBackend, BearerTransport
from fastapi_users.authentication.strategy.db import AccessTokenDatabase, DatabaseStrategy
from fastapi_users.db import SQLAlchemyBaseUserTableUUID, SQLAlchemyUserDatabase
from fastapi_users_db_sqlalchemy.access_token import (
    SQLAlchemyAccessTokenDatabase,
    SQLAlchemyBaseAccessTokenTableUUID,
)
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

from bench.peers.storage import directory, publish

TOKEN_LIFE_SECONDS = 24 * 3600


class Base(DeclarativeBase):
    """The tables."""


class User(SQLAlchemyBaseUserTableUUID, Base):
    """A user."""


class AccessToken(SQLAlchemyBaseAccessTokenTableUUID, Base):
    """A token of a user, as text: this library does not hash it."""


_engine = create_async_engine(f"sqlite+aiosqlite:///{directory() / 'users.db'}")
_sessions = async_sessionmaker(_engine, class_=AsyncSession, expire_on_commit=False)


class UserManager(UUIDIDMixin, BaseUserManager[User, uuid.UUID]):
    """The library's user manager, unchanged."""


async def session() -> AsyncIterator[AsyncSession]:
    """Open a session for one request."""
    async with _sessions() as opened:
        yield opened


async def users(opened: Annotated[AsyncSession, Depends(session)]) -> SQLAlchemyUserDatabase:
    """Return the table of users."""
    return SQLAlchemyUserDatabase(opened, User)


async def tokens(opened: Annotated[AsyncSession, Depends(session)]) -> SQLAlchemyAccessTokenDatabase:
    """Return the table of tokens."""
    return SQLAlchemyAccessTokenDatabase(opened, AccessToken)


async def user_manager(database: Annotated[SQLAlchemyUserDatabase, Depends(users)]) -> UserManager:
    """Return the user manager."""
    return UserManager(database)


def strategy(database: Annotated[AccessTokenDatabase[AccessToken], Depends(tokens)]) -> DatabaseStrategy:
    """Return the database strategy."""
    return DatabaseStrategy(database, lifetime_seconds=TOKEN_LIFE_SECONDS)


_backend = AuthenticationBackend(
    name="database", transport=BearerTransport(tokenUrl="login"), get_strategy=strategy
)
_fastapi_users = FastAPIUsers[User, uuid.UUID](user_manager, [_backend])
_current_user = _fastapi_users.current_user(active=True)


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Make the tables, a user and a token."""
    async with _engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with _sessions() as opened:
        user = await SQLAlchemyUserDatabase(opened, User).create(
            {"email": "ada@example.com", "hashed_password": secrets.token_urlsafe(32)}
        )
        chosen = DatabaseStrategy(SQLAlchemyAccessTokenDatabase(opened, AccessToken), TOKEN_LIFE_SECONDS)
        publish(token=await chosen.write_token(user))
    yield


app = FastAPI(lifespan=lifespan)


@app.get("/verify")
async def verify(_user: Annotated[User, Depends(_current_user)]) -> dict[str, bool]:
    """Answer 200 to whoever passed the dependency."""
    return {"ok": True}
