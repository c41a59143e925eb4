"""The reference of the HTTP API, made from the OpenAPI description, to read and to try out."""

from typing import Any

from litestar import Response
from litestar.params import FromPath

from keyturn.composition import Services
from keyturn.web.pages.documentation.operations import Domain, domains_of
from keyturn.web.pages.documentation.pages import form_of, missing
from keyturn.web.pages.documentation.site import InjectedSite, Site
from keyturn.web.pages.frame.forms import asset
from keyturn.web.pages.frame.rendering import InjectedPages
from keyturn.web.representation import Representation
from keyturn.web.requests import AnyRequest
from keyturn.web.routes import HeaderSet

CACHING = "public, max-age=300"
USERID, CONNECTION = "ada@example.com", "123456789"
"""Of the examples."""


@asset("/docs/api", headers=HeaderSet.DOCUMENTATION)
def api_overview(request: AnyRequest, site: InjectedSite, pages: InjectedPages) -> Response[bytes]:
    """List the domains of the API with their operations."""
    html = pages.text("documentation/api.html", site=site, domains=_domains(request, site), domain=None)
    return Representation.of(html.encode(), "text/html").answer(request, CACHING)


@asset("/docs/api/{name:str}", headers=HeaderSet.DOCUMENTATION)
def api_domain(
    name: FromPath[str], request: AnyRequest, site: InjectedSite, pages: InjectedPages
) -> Response[Any]:
    """Show the operations of one domain."""
    domains = _domains(request, site)
    domain = next((one for one in domains if one.path == name), None)
    if domain is None:
        return missing(request, form_of(request), site, pages)
    html = pages.text(
        "documentation/api_domain.html", site=site, domains=domains, domain=domain, host=site.host_of(request)
    )
    return Representation.of(html.encode(), "text/html").answer(request, CACHING)


def _domains(request: AnyRequest, site: Site) -> tuple[Domain, ...]:
    if not site.domains:
        services: Services = request.app.state.services
        values = {"iamid": services.identity.built_in.iamid, "userid": USERID, "connection_key": CONNECTION}
        site.domains = tuple(domains_of(request.app.openapi_schema.to_schema(), values))
    return site.domains
