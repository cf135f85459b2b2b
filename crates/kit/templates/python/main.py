"""One function for each method of cryptlet.toml, its name in snake_case. It takes the inputs and returns the output, or a
tuple of the outputs. What it raises, the calling contract reverts with."""

from cryptlet import InvalidInput, log
from cryptlet.methods import TotalOutputs


def greet(name: str) -> str:
    if name == "":
        raise InvalidInput("greet needs a name")
    log.info("greeting", name)
    return f"Hello, {name}!"


def total(amounts: list[int]) -> TotalOutputs:
    return TotalOutputs(sum=sum(amounts), count=len(amounts))
