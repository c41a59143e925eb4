"""Where the administration begins."""

from litestar.response import Redirect

from keyturn.web.pages.frame.forms import page
from keyturn.web.pages.frame.rendering import see_other
from keyturn.web.pages.frame.tabs import ADMINISTRATION, visible_tabs
from keyturn.web.pages.frame.views import InjectedView


@page("/", ADMINISTRATION)
def start(view: InjectedView) -> Redirect:
    """Lead to the first part that is for this person."""
    return see_other(visible_tabs(view.principal)[0].path)
