"""Settings of a server: its limits, its token and its host names."""

from dataclasses import dataclass

__all__ = ["Refusal", "Settings"]


@dataclass(frozen=True)
class Settings:
    """Limits, token and host names of a server.

    Attributes
    ----------
    token : str or None
        Secret that clients send to add and remove items. None: items cannot be changed.
    hosts : tuple of str
        Host names of the server, beside localhost and IP addresses. Requests for any other name are refused: a page of
        another site could send them under its own name (DNS rebinding).
    max_upload_bytes : int
        Largest upload of an image, in bytes.
    max_json_bytes : int
        Largest body of any other request, in bytes.
    max_pixels : int
        Largest width times height of an image that is decoded; a small file can hold far more pixels.
    max_k : int
        Largest number of results.
    max_where : int
        Longest filter, in characters.
    requests_per_second : float
        Sustained rate of each client; a burst may have twice as many. An image counts as 20 requests. 0: no limit.
    body_seconds : float
        Seconds in which the body of a request must arrive.
    buffered_bytes : int
        Memory for the bodies of all requests together, in bytes.

    Raises
    ------
    ValueError
        If the token is empty.

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

    def __post_init__(self) -> None:
        if self.token == "":
            raise ValueError("token must not be empty; give a secret of 16 characters or more, or None")


class Refusal(Exception):
    """A request that is answered with an error.

    Parameters
    ----------
    status : int
        Status of HTTP.
    message : str
        What was wrong, and how to avoid it.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message
