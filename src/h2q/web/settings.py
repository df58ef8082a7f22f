"""Settings of a server: its limits, and what it lets in."""

from dataclasses import dataclass

__all__ = ["Refusal", "Settings"]


@dataclass(frozen=True)
class Settings:
    """What a server allows.

    Attributes
    ----------
    token : str or None
        What a client must send to add and remove items; None: nobody may.
    hosts : tuple of str
        Names that the server is called by, beside localhost and IP addresses. A page of another site can make a browser
        send requests here under the site's own name (DNS rebinding), but not under these.
    max_upload_bytes : int
        Largest image that is taken.
    max_json_bytes : int
        Largest body of any other request.
    max_pixels : int
        Largest image that is decoded; a file of few bytes can hold far more.
    max_k : int
        Largest number of results.
    max_where : int
        Longest filter, in characters.
    requests_per_second : float
        Requests that a client may send for long, and twice as many at once; an image counts as 20. 0: no limit.
    body_seconds : float
        Time in which the body of a request must arrive.
    buffered_bytes : int
        Memory for the bodies of all requests at one time.

    Examples
    --------
    >>> Settings(hosts=("photos.example.org",), requests_per_second=50).max_k
    200
    """

    token: str | None = None
    hosts: tuple[str, ...] = ()
    max_upload_bytes: int = 20 << 20
    max_json_bytes: int = 2 << 20
    max_pixels: int = 50_000_000
    max_k: int = 200
    max_where: int = 1_000
    requests_per_second: float = 400.0
    body_seconds: float = 30.0
    buffered_bytes: int = 256 << 20


class Refusal(Exception):
    """A request that is answered with an error.

    Parameters
    ----------
    status : int
        Status of HTTP.
    message : str
        What was wrong, and the way out.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message
