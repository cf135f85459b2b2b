

from componentize_py_types import Err as _Err
from wit_world.imports import fetch as _fetch


class FetchError(Unavailable):
    """A fetch without an answer over HTTP. Not caught, it says that the source is unavailable."""

    def __init__(self, kind: str, words: str):
        super().__init__(words)
        self.kind = kind
        """denied, unavailable or too-large"""


@dataclass(frozen=True)
class Response:
    """An answer over HTTP, whatever its status."""

    status: int
    body: bytes

    def text(self) -> str:
        return self.body.decode()


class fetch:
    """Outside data; the answer is recorded with the call."""

    @staticmethod
    def get(source: str, path: str) -> Response:
        """GET a path of a source of the manifest."""
        try:
            response = _fetch.get(source, path)
        except _Err as error:
            value = error.value
            if isinstance(value, _fetch.FetchError_TooLarge):
                raise FetchError("too-large", f"the answer is longer than {value.value} bytes") from None
            kind = "denied" if isinstance(value, _fetch.FetchError_Denied) else "unavailable"
            raise FetchError(kind, value.value) from None
        return Response(response.status, response.body)
