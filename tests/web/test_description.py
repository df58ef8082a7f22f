"""schemathesis sends what /openapi.json describes, and what it does not; answers must be as described."""

from typing import Any

import numpy as np
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from h2q.index import BinaryIndex
from h2q.quantization import HouseholderQuantizer
from h2q.web import Contents, Settings, create_app

from .conftest import DIGITS, TOKEN, X

_index = BinaryIndex(quantizer=HouseholderQuantizer(16, random_state=0).fit(X), keep_embeddings=True)
_index.add(X[:30], metadata={"digit": DIGITS.target[:30], "half": np.arange(30) / 2})
# With a token every path is open.
_app = create_app(Contents(_index, "digits"), Settings(token=TOKEN, requests_per_second=0, hosts=("testserver",)))
_schema = schemathesis.openapi.from_asgi("/openapi.json", _app)


@schemathesis.serializer("image/bmp")
def as_they_are(context: Any, value: Any) -> bytes:
    return bytes(value) if isinstance(value, (bytes, bytearray)) else str(value).encode()


CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    unsupported_method,
)


@_schema.parametrize()
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_answers_are_as_described(case: schemathesis.Case) -> None:
    headers = {"authorization": f"Bearer {TOKEN}"}
    case.call_and_validate(headers=headers, checks=CHECKS)
