"""The Solidity ABI: tuples of every type that a manifest may name.

The host has checked that an input is the canonical encoding of what the manifest declares, so decoding trusts it.
"""

import re

WORD = 32


class Type:
    """A type, read once."""

    def __init__(self, name):
        self.name = name
        self.inner = self.length = self.size = None
        self.head = WORD
        array = re.fullmatch(r"(.*)\[(\d*)\]", name)
        if array:
            self.inner = Type(array[1])
            if array[2] == "":
                self.kind, self.dynamic = "list", True
            else:
                self.kind, self.length, self.dynamic = "array", int(array[2]), self.inner.dynamic
                if not self.dynamic:
                    self.head = self.length * self.inner.head
            return
        kind, size = re.fullmatch(r"([a-z]+)(\d*)", name).groups()
        self.kind = "fixed" if kind == "bytes" and size else kind
        self.size = int(size) if size else None
        self.dynamic = self.kind in ("bytes", "string")


def decode(types, data):
    """The values of a tuple."""
    values, at = [], 0
    for kind in types:
        values.append(_value(kind, data, 0, at))
        at += kind.head
    return values


def _number(data, at):
    return int.from_bytes(data[at : at + WORD], "big")


def _value(kind, data, base, at):
    if not kind.dynamic:
        return _static(kind, data, at)
    start = base + _number(data, at)
    if kind.kind in ("string", "bytes"):
        body = data[start + WORD : start + WORD + _number(data, start)]
        return body.decode() if kind.kind == "string" else body
    if kind.kind == "list":
        return _sequence(kind.inner, _number(data, start), data, start + WORD)
    return _sequence(kind.inner, kind.length, data, start)


def _sequence(kind, length, data, base):
    return [_value(kind, data, base, base + index * kind.head) for index in range(length)]


def _static(kind, data, at):
    if kind.kind == "uint":
        return _number(data, at)
    if kind.kind == "int":
        return int.from_bytes(data[at : at + WORD], "big", signed=True)
    if kind.kind == "bool":
        return data[at + WORD - 1] == 1
    if kind.kind == "address":
        return "0x" + data[at + 12 : at + WORD].hex()
    if kind.kind == "fixed":
        return data[at : at + kind.size]
    return _sequence(kind.inner, kind.length, data, at)


def encode(types, values, names):
    """The encoding of a tuple."""
    heads, tails = [], []
    size = sum(kind.head for kind in types)
    for kind, value, name in zip(types, values, names):
        if kind.dynamic:
            tail = _tail(kind, value, name)
            heads.append(size.to_bytes(WORD, "big"))
            tails.append(tail)
            size += len(tail)
        else:
            heads.append(_head(kind, value, name))
    return b"".join(heads + tails)


def _tail(kind, value, name):
    if kind.kind in ("string", "bytes"):
        if not isinstance(value, str if kind.kind == "string" else (bytes, bytearray)):
            raise _wrong(kind, value, name)
        body = value.encode() if kind.kind == "string" else bytes(value)
        return len(body).to_bytes(WORD, "big") + body + bytes(-len(body) % WORD)
    elements = _elements(kind, value, name)
    names = [f"{name}[{index}]" for index in range(len(elements))]
    body = encode([kind.inner] * len(elements), elements, names)
    return body if kind.kind == "array" else len(elements).to_bytes(WORD, "big") + body


def _head(kind, value, name):
    if kind.kind in ("uint", "int"):
        if not isinstance(value, int) or isinstance(value, bool):
            raise _wrong(kind, value, name)
        signed = kind.kind == "int"
        low, high = (-(1 << kind.size - 1), 1 << kind.size - 1) if signed else (0, 1 << kind.size)
        if not low <= value < high:
            raise _wrong(kind, value, name)
        return value.to_bytes(WORD, "big", signed=signed)
    if kind.kind == "bool":
        if not isinstance(value, bool):
            raise _wrong(kind, value, name)
        return int(value).to_bytes(WORD, "big")
    if kind.kind == "address":
        if not isinstance(value, str) or not re.fullmatch(r"0x[0-9a-fA-F]{40}", value):
            raise _wrong(kind, value, name)
        return bytes(12) + bytes.fromhex(value[2:])
    if kind.kind == "fixed":
        if not isinstance(value, (bytes, bytearray)) or len(value) != kind.size:
            raise _wrong(kind, value, name)
        return bytes(value) + bytes(WORD - kind.size)
    elements = _elements(kind, value, name)
    return b"".join(_head(kind.inner, element, f"{name}[{index}]") for index, element in enumerate(elements))


def _elements(kind, value, name):
    if not isinstance(value, (list, tuple)) or kind.length not in (None, len(value)):
        raise _wrong(kind, value, name)
    return value


def _wrong(kind, value, name):
    return TypeError(f"`{name}` must be {kind.name}, not {repr(value)[:80]}")
