

from cryptlet import Denied, Unavailable, clock, context, fetch, random


def echo(**values):
    return tuple(values.values())


def nest(**values):
    return tuple(values.values())


def world(path: str):
    call = context.current()
    response = fetch.get("prices", path)
    return clock.now(), call.height, call.caller, random.bytes(32), f"{response.status} {response.text()}"


def fail_as(how: str) -> int:
    if how == "denied":
        raise Denied("not you")
    if how == "unavailable":
        raise Unavailable("not now")
    if how == "internal":
        raise RuntimeError("my fault")
    return 1 << 24
