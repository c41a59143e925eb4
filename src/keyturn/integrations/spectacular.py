"""drf-spectacular: the security scheme in the description of an API under `KeyturnAuthentication`.

`KeyturnConfig` in INSTALLED_APPS imports this where drf-spectacular is installed too.
"""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension

from keyturn.integrations.refusals import BEARER_FORMAT, DESCRIPTION


class KeyturnScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # it has no types
    """Describes the scheme. drf-spectacular finds it by its base class."""

    target_class = "keyturn.integrations.rest_framework.KeyturnAuthentication"
    name = "Keyturn"

    def get_security_definition(self, _auto_schema: Any) -> dict[str, str]:
        """Return the scheme (OpenAPI 3, "Security Scheme Object")."""
        return {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": BEARER_FORMAT,
            "description": DESCRIPTION,
        }
