"""The words of OAuth that more than one side says: where things are, what is asked for, what it is called.

The error codes of the token endpoint are `errors.OAuthCode`.
"""

TOKEN_PATH = "/oauth/token"
INTROSPECTION_PATH = "/oauth/introspect"
REVOCATION_PATH = "/oauth/revoke"
DEVICE_AUTHORIZATION_PATH = "/oauth/device_authorization"

JWKS_PATH = "/.well-known/jwks.json"
SERVER_METADATA_PATH = "/.well-known/oauth-authorization-server"
"""RFC 8414."""
OPENID_METADATA_PATH = "/.well-known/openid-configuration"
"""The same under the name of OpenID Connect."""
RESOURCE_METADATA_PATH = "/.well-known/oauth-protected-resource"
"""RFC 9728."""

CLIENT_CREDENTIALS = "client_credentials"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
"""RFC 8693."""
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
"""RFC 8628. Answered by `DeviceLogins`: what it gives is no bearer token but a key."""

ACCESS_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:access_token"
API_KEY_TYPE = "urn:keyturn:token-type:api_key"
"""The type of a subject token; the registry has no name for a key."""

BEARER = "Bearer"
DPOP = "DPoP"
"""Types of tokens, and with the same spelling schemes of `Authorization` (RFC 6750, RFC 9449)."""
API_KEY = "api_key"
"""The token type that introspection gives for a key."""

INVALID_TOKEN = "invalid_token"
INSUFFICIENT_SCOPE = "insufficient_scope"
"""The error codes of a challenge (RFC 6750, section 3.1)."""
