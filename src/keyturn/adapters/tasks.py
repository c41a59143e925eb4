"""Tasks for the worker and its messages: the two sides of its pipe.

length, 4 bytes, big-endian │ MessagePack        one task in, then messages out
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from keyturn.adapters.catalog import Batch
from keyturn.adapters.findings import Step
from keyturn.adapters.ladder import StepResult
from keyturn.adapters.limits import Limits
from keyturn.adapters.validation import Value

HEADER = struct.Struct("!I")


class Action(StrEnum):
    """One kind of work with a database."""

    TEST = "test"
    CRAWL = "crawl"
    ROTATE = "rotate"


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to do with the database of a connection."""

    action: Action
    values: dict[str, Value] = field(repr=False)
    """As `validate` returned them, secrets among them."""
    allowed_networks: Sequence[str] = ()
    """`AddressPolicy.allowed`."""
    own_endpoints: Sequence[tuple[str, int]] = ()
    """`AddressPolicy.own`."""
    known_fingerprints: Sequence[str] = field(default=(), repr=False)
    """Of a crawl: the tables with one of these are sent without their columns."""
    new_password: str = field(default="", repr=False)
    """Of a rotation."""
    limits: Limits = field(default_factory=Limits)


class StepBegun(msgspec.Struct, frozen=True, tag=True):
    """A step is under way."""

    step: Step


class Done(msgspec.Struct, frozen=True, tag=True):
    """The task is done. The last message of a crawl and of a rotation that succeeded, and of every test."""


class Changing(msgspec.Struct, frozen=True, tag=True):
    """From now on until the end of the task, either password may be the one that works."""


Message = Changing | StepBegun | StepResult | Batch | Done
"""A failed `StepResult` is the last message of a crawl or a rotation."""


def framed(message: Task | Message) -> bytes:
    """Return a message with its length before it."""
    packed = msgspec.msgpack.encode(message)
    return HEADER.pack(len(packed)) + packed
