"""What a cryptlet sees of the world."""

from dataclasses import dataclass

from wit_world.imports import clock as _clock
from wit_world.imports import context as _context
from wit_world.imports import log as _log
from wit_world.imports import random as _random


class Refusal(Exception):
    """Why a cryptlet refuses a call. The words reach the contract as the reason of its revert."""

    def __init__(self, words: str):
        super().__init__(words)


class InvalidInput(Refusal):
    """The caller's input is at fault."""


class Denied(Refusal):
    """The caller may not do this."""


class Unavailable(Refusal):
    """An outside source did not answer; the host may try again."""


class Internal(Refusal):
    """The cryptlet itself is at fault, as with any other exception."""


@dataclass(frozen=True)
class CallContext:
    """The call being answered."""

    call_id: bytes
    """32 bytes that identify this call and no other."""
    ledger: bytes
    """32 bytes: the ledger whose contract calls."""
    height: int
    """Height of the block that the call was made against."""
    block_time_ms: int
    """Time of that block, in milliseconds since 1970."""
    caller: str
    """Address of the contract that calls, 0x and 40 lower-case digits."""


class context:
    """The call being answered."""

    @staticmethod
    def current() -> CallContext:
        call = _context.current()
        return CallContext(call.call_id, call.ledger, call.height, call.block_time_ms, "0x" + call.caller.hex())


class clock:
    """The only clock there is."""

    @staticmethod
    def now() -> int:
        """The as-of time of the call, in milliseconds since 1970. It does not advance while the call runs."""
        return _clock.now()


class random:
    """Bytes that are a function of the call: anyone can compute them."""

    @staticmethod
    def bytes(size: int) -> bytes:
        return _random.bytes(size)


class log:
    """Lines for the host's operator."""

    @staticmethod
    def debug(*words: object) -> None:
        _log.emit(_log.Level.DEBUG, " ".join(map(str, words)))

    @staticmethod
    def info(*words: object) -> None:
        _log.emit(_log.Level.INFO, " ".join(map(str, words)))

    @staticmethod
    def warn(*words: object) -> None:
        _log.emit(_log.Level.WARN, " ".join(map(str, words)))

    @staticmethod
    def error(*words: object) -> None:
        _log.emit(_log.Level.ERROR, " ".join(map(str, words)))
