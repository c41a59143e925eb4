"""keyshield on FastAPI, with its cached service: Argon2 on a miss, its cache afterwards.

`on_sqlite` is mounted as its README does, on SQLAlchemy and SQLite; `in_memory` stands on the other
repository that comes with it. Both keep its default delay: each verification waits 0.1 to 0.3 s.
"""

# mypy: ignore-errors
# Its packages are in .venv-bench, where mypy does not look.

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated

import aiocache
from fastapi import Depends, FastAPI
from keyshield import ApiKey
from keyshield.api import create_depends_api_key
from keyshield.hasher.argon2 import Argon2ApiKeyHasher
from keyshield.repositories.base import AbstractApiKeyRepository
from keyshield.repositories.in_memory import InMemoryApiKeyRepository
from keyshield.repositories.sql import SqlAlchemyApiKeyRepository
from keyshield.services.cached import CachedApiKeyService
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from bench.peers.storage import directory, publish

_hasher = Argon2ApiKeyHasher(pepper=secrets.token_urlsafe(32))
_cache = aiocache.SimpleMemoryCache()
_memory = InMemoryApiKeyRepository()
_engine = create_async_engine(f"sqlite+aiosqlite:///{directory() / 'keyshield.db'}")
_sessions = async_sessionmaker(_engine, class_=AsyncSession, expire_on_commit=False)


async def repository_in_memory() -> AsyncIterator[AbstractApiKeyRepository]:
    """Give the one repository of this process."""
    yield _memory


async def repository_on_sqlite() -> AsyncIterator[AbstractApiKeyRepository]:
    """Give a repository in a session and a transaction of its own, as the README does."""
    async with _sessions() as opened, opened.begin():
        yield SqlAlchemyApiKeyRepository(opened)


async def make_table() -> None:
    """Make the table; the README does so for each request, which costs more."""
    async with _sessions() as opened:
        await SqlAlchemyApiKeyRepository(opened).ensure_table(async_engine=_engine)


def _service(repository: AbstractApiKeyRepository) -> CachedApiKeyService:
    return CachedApiKeyService(repo=repository, hasher=_hasher, cache=_cache)


def _application(repository: Callable[[], AsyncIterator[AbstractApiKeyRepository]]) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await make_table()
        opening: Callable[[], AbstractAsyncContextManager[AbstractApiKeyRepository]]
        opening = asynccontextmanager(repository)
        async with opening() as opened:
            _, key = await _service(opened).create(name="bench")
        publish(key=key)
        yield

    async def service(
        opened: Annotated[AbstractApiKeyRepository, Depends(repository)],
    ) -> CachedApiKeyService:
        return _service(opened)

    app = FastAPI(lifespan=lifespan)

    @app.get("/verify")
    async def verify(_key: Annotated[ApiKey, Depends(create_depends_api_key(service))]) -> dict[str, bool]:
        """Answer 200 to whoever passed the dependency."""
        return {"ok": True}

    return app


in_memory = _application(repository_in_memory)
on_sqlite = _application(repository_on_sqlite)
