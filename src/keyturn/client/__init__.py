"""For programs that call: send a key, or exchange it and renew the token, and a client for Keyturn's own API.

`keyturn.client.requests` holds the same for the requests library, and is imported only by who uses that.
"""

from keyturn.client.api import (
    ApiClient,
    ApiKey,
    Connection,
    NewApiKey,
    ServerRefused,
    Service,
    ServiceScope,
    User,
)
from keyturn.client.device import DeviceCodes, DeviceKey, DeviceLogin, LoginRefused
from keyturn.client.dpop import DpopKeyPair
from keyturn.client.httpx import KeyturnAuth
from keyturn.client.tokens import ExchangeFailed

__all__ = [
    "ApiClient",
    "ApiKey",
    "Connection",
    "DeviceCodes",
    "DeviceKey",
    "DeviceLogin",
    "DpopKeyPair",
    "ExchangeFailed",
    "KeyturnAuth",
    "LoginRefused",
    "NewApiKey",
    "ServerRefused",
    "Service",
    "ServiceScope",
    "User",
]
