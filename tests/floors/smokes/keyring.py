"""`pip install keyturn[keyring]`: a key is kept, found and forgotten."""

import keyring
from keyring.backend import KeyringBackend

from keyturn.cli.remote import keyrings


class Memory(KeyringBackend):
    priority = 1
    kept: dict[tuple[str, str], str] = {}  # noqa: RUF012 - the backend is made by class

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.kept[service, username]


keyring.set_keyring(Memory())
keyrings.keep_key("default", "kt_key")
assert keyrings.find_key("default") == "kt_key"
keyrings.forget_key("default")
assert keyrings.find_key("default") is None
