"""Sends back when keys were used, so that "last used" is true wherever they are used."""

from collections.abc import Mapping

import httpx
import msgspec

from keyturn.core import feed
from keyturn.core.records import KeyUsage
from keyturn.core.times import in_milliseconds
from keyturn.errors import StoreUnavailable
from keyturn.replica.packing import slices


class SendsUses:
    """Report the uses that `Usage` noted far from the database, at most once a minute for each key."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def record_use(self, uses: Mapping[int, KeyUsage]) -> None:
        """Send when keys were last used, and how often; raise `StoreUnavailable` if it is not taken."""
        for some in slices(uses.items(), feed.MAX_USES_AT_ONCE):
            body = msgspec.json.encode({"uses": [_report(key_id, usage) for key_id, usage in some]})
            try:
                answer = self._http.post(
                    feed.USES_PATH, content=body, headers={"Content-Type": "application/json"}
                )
            except httpx.HTTPError as error:
                raise StoreUnavailable(type(error).__name__) from None
            if not answer.is_success:
                raise StoreUnavailable(f"the Keyturn server answers {answer.status_code} to a report of uses")

    def forget_uses_before(self, hour: int) -> None:
        """Leave that to the server."""


def _report(key_id: int, usage: KeyUsage) -> feed.KeyUseReport:
    return feed.KeyUseReport(
        key_id=key_id,
        at=in_milliseconds(usage.last.at),
        uses=usage.uses,
        address=_shortened(usage.last.address),
        via=_shortened(usage.last.via),
        agent=_shortened(usage.last.agent),
    )


def _shortened(text: str | None) -> str | None:
    return None if text is None else text[: feed.MAX_USE_CHARACTERS]
