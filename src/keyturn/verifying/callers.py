"""The callers of one key that are not written yet: bounded, and only touched under the lock of `Usage`."""

from dataclasses import dataclass, replace

OBSERVE_INTERVAL_SECONDS = 1.0
"""How long after one observation of who uses a key the next one may follow."""

UseContext = tuple[str | None, str | None, str | None, bytes | str | None]
"""Address, method, path and user agent of a use, as they came: only few are ever made readable."""


@dataclass(slots=True, eq=False)
class NotedCaller:
    """A caller of a key, and what is unwritten of them. Times are seconds since 1970."""

    first_at: float
    at: float
    context: UseContext
    """Of their last request."""
    uses: int = 0
    refused: int = 0
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class TakenCaller:
    """A caller, and a copy from when the notes were taken to be written."""

    noted: NotedCaller
    then: NotedCaller


class NotedCallers:
    """The callers of a key since it was last written, the one seen longest ago first.

    The user of the key is observed once a second at most. All uses until the next observation count for them:
    so the sum over all callers is exact, and the share of each if they take turns more slowly. Refusals are
    counted one by one, but new callers are observed for them once a second at most. In between, refusals
    count for the caller that was refused before: so nobody drives out the others quickly with a dead key.
    """

    __slots__ = ("_callers", "_counted", "_refused", "_refused_until", "_user")

    def __init__(self) -> None:
        self._callers: dict[tuple[str | None, bytes | str | None], NotedCaller] = {}
        self._counted = 0
        """How many of the key's uses are counted for a caller."""
        self._user: NotedCaller | None = None
        """The caller that uses count for until the next observation."""
        self._refused: NotedCaller | None = None
        """The caller that was refused last."""
        self._refused_until = 0.0
        """Until then no new caller is observed for a refusal."""

    def observe_use(self, at: float, context: UseContext, uses: int, room: int) -> None:
        """Observe who uses the key, after `uses` uses in all; there is room for so many callers."""
        if self._user is not None:
            self._user.uses += uses - self._counted
            self._counted = uses
        self._user = self._see(at, context, room)

    def note_refused(self, at: float, context: UseContext, reason: str, room: int) -> None:
        """Count a refusal."""
        is_new = _name_of(context) not in self._callers
        if self._refused is None or not is_new or at >= self._refused_until:
            self._refused = self._see(at, context, room)
            if is_new:
                self._refused_until = at + OBSERVE_INTERVAL_SECONDS
        self._refused.refused += 1
        self._refused.reason = reason

    def take(self, at: float, context: UseContext, uses: int, room: int) -> list[TakenCaller]:
        """Return who is unwritten, after `uses` uses in all; the last of them was `at`, with `context`."""
        unseen = uses - self._counted
        if unseen > 0:
            last = self._see(at, context, room)
            last.uses += 1
            (self._user or last).uses += unseen - 1
            self._counted = uses
        return [TakenCaller(one, replace(one)) for one in self._callers.values() if one.uses or one.refused]

    def forget_written(self, taken: list[TakenCaller]) -> None:
        """Subtract what was written, and forget who was not seen since."""
        for caller in taken:
            noted, then = caller.noted, caller.then
            noted.uses -= then.uses
            noted.refused -= then.refused
            is_awaited = noted is self._user or noted is self._refused
            if not is_awaited and not noted.uses and not noted.refused:
                name = _name_of(noted.context)
                if self._callers.get(name) is noted:
                    del self._callers[name]

    def forget_all(self, uses: int) -> None:
        """Forget everybody, and all `uses` that there were."""
        self._callers.clear()
        self._user = self._refused = None
        self._counted = uses

    def _see(self, at: float, context: UseContext, room: int) -> NotedCaller:
        """Return the caller of a request. Without room the one seen longest ago is dropped."""
        name = _name_of(context)
        caller = self._callers.pop(name, None)
        if caller is None:
            caller = NotedCaller(at, at, context)
            while len(self._callers) >= room:
                self._drop_oldest()
        elif at >= caller.at:
            caller.at, caller.context = at, context
        self._callers[name] = caller
        return caller

    def _drop_oldest(self) -> None:
        dropped = self._callers.pop(next(iter(self._callers)))
        if dropped is self._user:
            self._user = None
        if dropped is self._refused:
            self._refused = None


def _name_of(context: UseContext) -> tuple[str | None, bytes | str | None]:
    return context[0], context[3]
