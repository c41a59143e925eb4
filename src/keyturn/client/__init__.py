"""For programs that call: send a key, or exchange it and renew the token, and a client for Keyturn's own API.

`keyturn.client.requests` holds the same for the requests library, and is imported only by who uses that.
"""

from keyturn.client.api import ApiClient, ApiKey, Connection, NewApiKey, ServerRefused, User
from keyturn.client.httpx import KeyturnAuth

__all__ = ["ApiClient", "ApiKey", "Connection", "KeyturnAuth", "NewApiKey", "ServerRefused", "User"]
