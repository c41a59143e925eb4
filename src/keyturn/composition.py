"""The composition root: settings in, everything wired. Nothing else opens a database."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TypedDict

from argon2 import Parameters

from keyturn.adapters.limits import Limits
from keyturn.core.access_token import AccessTokenFormat
from keyturn.core.api_key import ApiKeyFormat
from keyturn.core.lifetimes import KeyLife
from keyturn.core.records import InstallationSettings, SessionLimits
from keyturn.counting.counts import Counts
from keyturn.errors import CannotStart
from keyturn.services.apis.audiences import TARGETS as AUDIENCE_TARGETS
from keyturn.services.apis.audiences import Audiences, StoredCredentials
from keyturn.services.apis.registry import Apis
from keyturn.services.changes.audit_archive import AuditArchive
from keyturn.services.changes.audit_trail import AuditTrail
from keyturn.services.changes.freshness import Freshness
from keyturn.services.connections.access import Access
from keyturn.services.connections.checks import Checks
from keyturn.services.connections.endpoints import own_endpoints
from keyturn.services.connections.jobs import Jobs
from keyturn.services.connections.lost_root_key import RootKeyReplacement
from keyturn.services.connections.objects import Objects
from keyturn.services.connections.password_rotation import PasswordRotation
from keyturn.services.connections.registry import Connections
from keyturn.services.connections.schedule import Schedule
from keyturn.services.connections.sealing import ConnectionSecrets
from keyturn.services.connections.settings import Settings as ObjectSettings
from keyturn.services.connections.targets import Targets
from keyturn.services.feed.remote_uses import RemoteUses
from keyturn.services.feed.stream import Feed
from keyturn.services.installation.backup import Backups
from keyturn.services.installation.backup_schedule import BackupSchedule
from keyturn.services.installation.recovery import RootKeyRecovery
from keyturn.services.installation.restore import Restores
from keyturn.services.installation.retention import Pruning, Retention
from keyturn.services.installation.root_key_rotation import BATCH, RootKeyRotation, Seals
from keyturn.services.installation.root_keys import RootKeyFile, read_root_keys
from keyturn.services.installation.setup import Installation
from keyturn.services.installation.vault import Vault
from keyturn.services.keys.administration import KeyAdministration
from keyturn.services.keys.keys import Keys
from keyturn.services.keys.rotation import KeyRotation
from keyturn.services.keys.system_keys import SystemKeys
from keyturn.services.keys.uses import KeyUses
from keyturn.services.oauth.device_logins import DeviceLogins
from keyturn.services.oauth.endpoints import OAuth
from keyturn.services.ownership.offboarding import Offboarding
from keyturn.services.ownership.service_accounts import ServiceAccounts
from keyturn.services.people.administration import UserAdministration
from keyturn.services.people.groups import Groups
from keyturn.services.people.identity.attempts import SignInAttempts
from keyturn.services.people.identity.invitations import Invitations
from keyturn.services.people.identity.password_provider import PasswordProvider
from keyturn.services.people.identity.passwords import ARGON2ID, Passwords
from keyturn.services.people.identity.provider import IdentityProvider
from keyturn.services.people.identity.registry import IdentityProviders
from keyturn.services.people.impersonation import Impersonation
from keyturn.services.people.logins import Logins
from keyturn.services.people.projects import Projects
from keyturn.services.people.quotas import Quotas
from keyturn.services.people.reauthentication import Reauthentication
from keyturn.services.people.sessions import Sessions
from keyturn.services.people.users import Users
from keyturn.services.tokens.exchange import Exchange
from keyturn.services.tokens.issuer import TokenIssuer, TokenRevocation
from keyturn.services.tokens.signing_keys import TARGET, SigningKeys, VerifyingKeys
from keyturn.settings import Settings, default_database
from keyturn.store import Store, open_engine
from keyturn.store.database.engine import sqlite_path
from keyturn.store.database.migrations import (
    check_current,
    check_older_servers_go_on,
    current_version,
    migrate,
)
from keyturn.store.installation.restoring import Restoring
from keyturn.system import System
from keyturn.verifying.authenticator import Authenticator
from keyturn.verifying.lookup import Lookup
from keyturn.verifying.rate_limit import CredentialRateLimit
from keyturn.verifying.redaction import Redactor
from keyturn.verifying.uses import Usage
from keyturn.verifying.verdict_cache import VerdictCache

ROOT_KEY_FILE_NAME = "root.key"


@dataclass(frozen=True, slots=True)
class Verification:
    """The verifying part of the services, which any program can have inside itself."""

    store: Store
    index: VerdictCache
    system: System
    usage: Usage
    freshness: Freshness
    audiences: Audiences
    authenticator: Authenticator

    def start(self) -> None:
        """Start the threads that follow changes and write uses: for a program that runs for a while."""
        self.freshness.start()
        self.usage.start()

    def open_scopes(self) -> list[str]:
        """Return the scopes that everyone may hold; which others there are is not for strangers."""
        self.freshness.ensure()
        return self.audiences.open_scopes()

    def close(self) -> None:
        """Write what is still only noted, and close the database."""
        self.freshness.stop()
        self.usage.stop()
        self.store.close()


@dataclass(frozen=True, slots=True)
class Services:
    """All use cases of one installation, ready."""

    settings: Settings
    system: System
    counts: Counts
    store: Store
    signing_keys: SigningKeys
    verification: Verification
    usage: Usage
    authenticator: Authenticator
    exchange: Exchange
    impersonation: Impersonation
    revocation: TokenRevocation
    oauth: OAuth
    keys: Keys
    key_uses: KeyUses
    key_rotation: KeyRotation
    devices: DeviceLogins
    identity: IdentityProviders
    logins: Logins
    users: Users
    invitations: Invitations
    user_administration: UserAdministration
    offboarding: Offboarding
    groups: Groups
    projects: Projects
    apis: Apis
    service_accounts: ServiceAccounts
    system_keys: SystemKeys
    all_keys: KeyAdministration
    audit_trail: AuditTrail
    audit_archive: AuditArchive
    sessions: Sessions
    reauthentication: Reauthentication
    connections: Connections
    connection_access: Access
    connection_secrets: ConnectionSecrets
    connection_checks: Checks
    connection_schedule: Schedule
    data_objects: Objects
    jobs: Jobs
    feed: Feed
    remote_uses: RemoteUses
    installation: Installation
    backup_schedule: BackupSchedule
    retention: Retention

    def start(self) -> None:
        """Start the threads of a server, and tell programs on its database what it is set to."""
        self.store.installation.publish_settings(_published_settings(self.settings))
        self.signing_keys.follow_algorithm()
        self.verification.start()

    def close(self) -> None:
        """Write what is still only noted, and close the database."""
        self.retention.close()
        self.jobs.close()
        self.feed.stop()
        self.verification.close()


def open_services(
    settings: Settings,
    system: System | None = None,
    *,
    must_exist: bool = False,
    beside_server: bool = False,
    hashing: Parameters = ARGON2ID,
    identity_providers: Sequence[IdentityProvider] = (),
    counts: Counts | None = None,
) -> Services:
    """Open the database, bring its schema up to date, check the root key, and wire everything.

    An installation begins here if the settings say so, or in the default place where there is nothing yet,
    unless it `must_exist`. An older schema is migrated if the settings say so. A program `beside_server`
    migrates none, and for it what the server has announced wins over `settings`. Raise `CannotStart` with one
    sentence that says what to do. `hashing` is for tests, which want the same argon2id with less work.
    People sign in with `identity_providers` besides the built-in one. `counts` counts their work.
    """
    system, counts = system or System(), counts or Counts()
    may_begin = not must_exist and (settings.new_installation or _is_default_and_unused(settings))
    store = _open_store(settings, may_begin=may_begin, may_migrate=not beside_server, counts=counts)
    try:
        if beside_server and (told := store.installation.find_settings()) is not None:
            settings = _as_published(settings, told)
        identity = IdentityProviders(
            PasswordProvider(Passwords(hashing, min_characters=settings.password_min_characters)),
            *identity_providers,
        )
        return _wire(settings, system, store, identity, counts)
    except BaseException:
        store.close()
        raise


@dataclass(frozen=True, slots=True)
class Sealed:
    """Everything that is encrypted under the root key, for whoever checks, renews or copies it."""

    store: Store
    seals: Seals
    rotation: RootKeyRotation
    backups: Backups


@dataclass(frozen=True, slots=True)
class Recovery:
    """The services of an installation whose root key may be lost."""

    shares: RootKeyRecovery
    replacement: RootKeyReplacement


@contextmanager
def open_recovery(settings: Settings, system: System | None = None) -> Iterator[Recovery]:
    """Open the database of an installation, whether its root key is there or not.

    Raise `CannotStart` with one sentence that says what to do.
    """
    system = system or System()
    store = _open_store(settings, may_begin=False, may_migrate=False)
    try:
        if (told := store.installation.find_settings()) is not None:
            settings = _as_published(settings, told)
        read = partial(_read_root_keys, settings, system, store)
        file = None if settings.root_key_command is not None else _root_key_file(settings)
        yield Recovery(
            RootKeyRecovery(store, read=read, file=file, system=system),
            RootKeyReplacement(
                store,
                read=read,
                file=_own_root_key_file(settings),
                algorithm=settings.token_algorithm,
                token_life=settings.token_life,
                system=system,
            ),
        )
    finally:
        store.close()


@contextmanager
def open_sealed(settings: Settings, system: System | None = None, *, batch: int = BATCH) -> Iterator[Sealed]:
    """Open the database of an installation and its root keys, also where some of it does not open.

    Raise `CannotStart` with one sentence that says what to do. `batch` is for tests.
    """
    system = system or System()
    store = _open_store(settings, may_begin=False, may_migrate=False)
    try:
        vault = _open_vault(settings, system, store)
        Installation(store, vault, system).check_root_key()
        seals = Seals(store, vault, batch=batch)
        read = partial(_read_root_keys, settings, system, store)
        rotation = RootKeyRotation(
            store,
            vault,
            seals,
            read=read,
            file=_own_root_key_file(settings),
            system=system,
        )
        backups = Backups(
            store, seals, read_root_keys=read, vault=_backup_vault(settings, system), system=system
        )
        yield Sealed(store, seals, rotation, backups)
    finally:
        store.close()


def _open_store(
    settings: Settings, *, may_begin: bool, may_migrate: bool, counts: Counts | None = None
) -> Store:
    engine = open_engine(settings.database, must_exist=not may_begin)
    try:
        is_new = may_begin and current_version(engine) is None
        if is_new or (settings.migrate and may_migrate and current_version(engine) is not None):
            check_older_servers_go_on(engine)
            migrate(engine)
        check_current(engine)
        store = Store(engine, counts)
    except BaseException:
        engine.dispose()
        raise
    try:
        store.lineage.keep_log()
    except BaseException:
        store.close()
        raise
    return store


def open_restores(settings: Settings, system: System | None = None) -> Restores:
    """Give what restores into the database of these settings, which need not be there."""
    system = system or System()
    read = partial(
        read_root_keys,
        file=_root_key_file(settings),
        command=settings.root_key_command,
        may_create=False,
        system=system,
    )
    return Restores(
        Restoring(settings.database),
        read_root_keys=read,
        backup_vault=_backup_vault(settings, system),
        system=system,
    )


def open_verification(
    database: str, *, max_staleness_seconds: float, failures_per_minute: int, system: System | None = None
) -> Verification:
    """Open the database of a server to verify what it issues, without its root key.

    Raise `CannotStart` with one sentence that says what to do.
    """
    engine = open_engine(database, must_exist=True)
    check_current(engine)
    store = Store(engine)
    try:
        store.lineage.check()
        told = store.installation.find_settings()
        system = system or System()
        keys = VerifyingKeys(store, system)
        if told is None:
            raise CannotStart("No server has run on this database yet: start `keyturn serve` on it once.")
        keys.jwks()  # Now, so that a database without keys is told of at the start.
        return _verification(
            store,
            told,
            keys,
            limits=SessionLimits(
                timedelta(0), timedelta(0)
            ),  # For browsers, whose cookies are not ours to read.
            max_staleness_seconds=max_staleness_seconds,
            failures_per_minute=failures_per_minute,
            system=system,
            counts=Counts(),
        )
    except BaseException:
        store.close()
        raise


ANNOUNCED = {
    "issuer": "public_url",
    "audience": "public_url",
    "key_prefix": "key_prefix",
    "max_token_life_seconds": "token_life_seconds",
    "token_algorithm": "token_algorithm",
    "key_life_days": "key_life_days",
    "allow_keys_without_expiry": "allow_keys_without_expiry",
}
"""The settings of the installation, not of one process, by the name under which they are announced."""


def _published_settings(settings: Settings) -> InstallationSettings:
    return InstallationSettings(**{name: getattr(settings, setting) for name, setting in ANNOUNCED.items()})


def _as_published(settings: Settings, told: InstallationSettings) -> Settings:
    """Return the settings as the installation has them, whatever the environment of this process says."""
    values = {setting: getattr(told, name) for name, setting in ANNOUNCED.items()}
    return replace(settings, **{setting: value for setting, value in values.items() if value is not None})


def _token_format(told: InstallationSettings) -> AccessTokenFormat:
    return AccessTokenFormat(told.issuer, told.audience, timedelta(seconds=told.max_token_life_seconds))


def _verification(
    store: Store,
    told: InstallationSettings,
    keys: VerifyingKeys,
    *,
    limits: SessionLimits,
    max_staleness_seconds: float,
    failures_per_minute: int,
    system: System,
    counts: Counts,
) -> Verification:
    usage = Usage(store.api_keys, system, Redactor(told.key_prefix))
    index = VerdictCache()
    failures = CredentialRateLimit(failures_per_minute, system)
    freshness = Freshness(
        store, index, max_staleness_seconds=max_staleness_seconds, system=system, counts=counts
    )
    freshness.on_change(keys.forget, of=TARGET)
    audiences = Audiences(store)
    for target in AUDIENCE_TARGETS:
        freshness.on_change(audiences.forget, of=target)
    authenticator = Authenticator(
        key_format=ApiKeyFormat(told.key_prefix),
        index=index,
        freshness=freshness,
        lookup=Lookup(
            StoredCredentials(store, audiences),
            token_format=_token_format(told),
            keys=keys,
            session_limits=limits,
            index=index,
            failures=failures,
            usage=usage,
            system=system,
        ),
        failures=failures,
        usage=usage,
        system=system,
        counts=counts,
    )
    return Verification(store, index, system, usage, freshness, audiences, authenticator)


def _wire(
    settings: Settings, system: System, store: Store, identity: IdentityProviders, counts: Counts
) -> Services:
    vault = _open_vault(settings, system, store)
    installation = Installation(store, vault, system)
    installation.check_root_key()
    signing_keys = _open_signing_keys(settings, system, store, vault)
    told = _published_settings(settings)
    key_format = ApiKeyFormat(settings.key_prefix)
    limits = SessionLimits(
        idle=timedelta(minutes=settings.session_idle_minutes),
        absolute=timedelta(hours=settings.session_absolute_hours),
    )
    verification = _verification(
        store,
        told,
        signing_keys,
        limits=limits,
        max_staleness_seconds=settings.max_staleness_seconds,
        failures_per_minute=settings.failures_per_minute,
        system=system,
        counts=counts,
    )
    _check_own_audience(told, verification.audiences)
    feed = Feed(store, verification.freshness.changes, told, system)
    verification.freshness.on_change(feed.wake)
    issuer = TokenIssuer(_token_format(told), signing_keys, system)
    attempts = SignInAttempts(
        store,
        identity,
        failures_per_minute=settings.sign_in_failures_per_minute,
        passwords_per_minute=settings.passwords_per_minute,
        system=system,
        counts=counts,
    )
    logins = Logins(
        store,
        attempts=attempts,
        issuer=issuer,
        session_limits=limits,
        token_life=settings.token_life,
        system=system,
    )
    users = Users(store, identity=identity, attempts=attempts, system=system)
    quotas = Quotas(
        keys_per_owner=settings.keys_per_owner,
        creations_per_minute=settings.creations_per_minute,
        system=system,
    )
    store.limit_changes(quotas)
    projects = Projects(store, users, quotas, system)
    apis = Apis(store, own_identifier=told.audience, system=system)
    keys = Keys(
        store,
        key_format=key_format,
        life=KeyLife(timedelta(days=settings.key_life_days), settings.allow_keys_without_expiry),
        usage=verification.usage,
        projects=projects,
        apis=apis,
        quotas=quotas,
        system=system,
    )
    sessions = Sessions(store, limits, system)
    invitations = Invitations(
        store, passwords=identity.built_in.passwords, public_url=settings.public_url, system=system
    )
    administration = UserAdministration(
        store, identity=identity, users=users, invitations=invitations, system=system
    )
    revocation = TokenRevocation(store, _token_format(told), signing_keys, system)
    pruning = Pruning(store, system)
    archive = AuditArchive(
        store, pruning, issuer=told.issuer, sign=signing_keys.sign_checkpoint, system=system
    )
    return Services(
        settings=settings,
        system=system,
        counts=counts,
        store=store,
        signing_keys=signing_keys,
        verification=verification,
        usage=verification.usage,
        authenticator=verification.authenticator,
        exchange=Exchange(verification.authenticator, issuer, key_format),
        impersonation=Impersonation(
            store,
            authenticator=verification.authenticator,
            issuer=issuer,
            users=users,
            token_life=settings.token_life,
            system=system,
        ),
        revocation=revocation,
        oauth=OAuth(
            authenticator=verification.authenticator,
            issuer=issuer,
            revocation=revocation,
            keys=keys,
            signing_keys=signing_keys,
            token_format=_token_format(told),
            key_format=key_format,
        ),
        keys=keys,
        key_uses=KeyUses(store, verification.usage, administration, system),
        key_rotation=KeyRotation(store, keys=keys, key_format=key_format, system=system),
        devices=DeviceLogins(store, keys=keys, apis=apis, system=system),
        identity=identity,
        logins=logins,
        users=users,
        invitations=invitations,
        user_administration=administration,
        offboarding=Offboarding(
            store, administration=administration, keys=keys, sessions=sessions, system=system
        ),
        groups=Groups(store, users, identity, system),
        projects=projects,
        apis=apis,
        service_accounts=ServiceAccounts(
            store, users=users, administration=administration, keys=keys, apis=apis, system=system
        ),
        system_keys=SystemKeys(store, vault, users=users, keys=keys, system=system),
        all_keys=KeyAdministration(store, key_format=key_format, usage=verification.usage, system=system),
        audit_trail=AuditTrail(store),
        audit_archive=archive,
        sessions=sessions,
        reauthentication=Reauthentication(
            store,
            users=users,
            life=timedelta(minutes=settings.password_again_minutes),
            system=system,
        ),
        **_open_connections(settings, system, store, vault, verification, counts),
        feed=feed,
        remote_uses=RemoteUses(store.api_keys, Redactor(told.key_prefix), system),
        installation=installation,
        backup_schedule=BackupSchedule(settings, system),
        retention=_open_retention(settings, system, pruning, archive),
    )


def _open_retention(settings: Settings, system: System, pruning: Pruning, archive: AuditArchive) -> Retention:
    days, kept_events = settings.ended_keys_kept_days, settings.audit_kept_days
    return Retention(
        pruning,
        ended_keys_kept=None if days is None else timedelta(days=days),
        archive=None
        if settings.audit_archive is None or kept_events is None
        else partial(archive.archive_in_time, settings.audit_archive, kept=timedelta(days=kept_events)),
        system=system,
    )


class _ConnectionServices(TypedDict):
    connections: Connections
    connection_access: Access
    connection_secrets: ConnectionSecrets
    connection_checks: Checks
    connection_schedule: Schedule
    data_objects: Objects
    jobs: Jobs


def _open_connections(
    settings: Settings,
    system: System,
    store: Store,
    vault: Vault,
    verification: Verification,
    counts: Counts,
) -> _ConnectionServices:
    access, secrets = Access(store), ConnectionSecrets(store, vault)
    targets = Targets(
        secrets,
        allowed_networks=tuple(map(str, settings.connection_networks)),
        limits=Limits(),
        own_endpoints=partial(
            own_endpoints, (settings.host, settings.port), settings.management_endpoint, store.endpoint
        ),
    )
    registry = Connections(store, access, secrets, verification.freshness, system)
    rotation = PasswordRotation(store, secrets, targets, system)
    jobs = Jobs(store, registry, access, targets, rotation, settings.database, system, counts)
    return _ConnectionServices(
        connections=registry,
        connection_access=access,
        connection_secrets=secrets,
        connection_checks=Checks(store, registry, targets, rotation, system),
        connection_schedule=Schedule(jobs),
        data_objects=Objects(store, registry, ObjectSettings(store, system), access),
        jobs=jobs,
    )


def _open_vault(settings: Settings, system: System, store: Store) -> Vault:
    return Vault(
        partial(_read_root_keys, settings, system, store),
        system,
        find_check=store.installation.find_root_key_check,
    )


def _backup_vault(settings: Settings, system: System) -> Vault | None:
    """Return the keys of backups, of which the first encrypts; None where backups are not encrypted."""
    if settings.backup_key_file is None:
        return None
    read = partial(
        read_root_keys,
        file=settings.backup_key_file,
        command=None,
        may_create=False,
        system=system,
        kind="backup key",
    )
    return Vault(read, system, find_check=lambda: None)


def _read_root_keys(settings: Settings, system: System, store: Store) -> tuple[bytes, ...]:
    return read_root_keys(
        file=_root_key_file(settings),
        command=settings.root_key_command,
        may_create=settings.root_key_file is None and store.installation.find_root_key_check() is None,
        system=system,
    )


def _open_signing_keys(settings: Settings, system: System, store: Store, vault: Vault) -> SigningKeys:
    signing_keys = SigningKeys(
        store, vault, algorithm=settings.token_algorithm, token_life=settings.token_life, system=system
    )
    signing_keys.make_first()
    signing_keys.jwks()  # Now, so that a key that does not open stops the start.
    return signing_keys


def _check_own_audience(told: InstallationSettings, audiences: Audiences) -> None:
    if audiences.scopes_of(told.audience) is not None:
        raise CannotStart(
            f"KEYTURN_PUBLIC_URL is {told.audience}, which an API is registered with: tokens for the one "
            "would be good for the other. Set the URL from before and delete the API, or set another one."
        )


def _is_default_and_unused(settings: Settings) -> bool:
    """Return whether nothing was chosen and nothing is there: no database, and no root key of a lost one."""
    file, root_key = sqlite_path(settings.database), _root_key_file(settings)
    if file is None or root_key is None or settings.root_key_command is not None:
        return False
    try:
        is_default = settings.database == default_database()
    except CannotStart:
        return False  # This user has no home, and so no default place.
    return is_default and not file.exists() and not root_key.exists()


def _own_root_key_file(settings: Settings) -> RootKeyFile | None:
    """Return the file beside an embedded database, unless the operator chose where the root key is."""
    if settings.root_key_file is not None or settings.root_key_command is not None:
        return None
    file = _root_key_file(settings)
    return None if file is None else RootKeyFile(file)


def _root_key_file(settings: Settings) -> Path | None:
    """Return where the root key is: as set, or beside an embedded database."""
    if settings.root_key_file is not None:
        return settings.root_key_file
    database = sqlite_path(settings.database)
    return None if database is None else database.with_name(ROOT_KEY_FILE_NAME)
