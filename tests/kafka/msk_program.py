"""The program with the AWS signer replaced: its tokens come from the tests' token endpoint.

Amazon's brokers verify a signed request, which no other broker can do; so the tests use a JWT in its place.
"""

from __future__ import annotations

import json
import os
import time
from urllib.parse import urlencode
from urllib.request import urlopen

from aws_msk_iam_sasl_signer import MSKAuthTokenProvider

from stream_capi.__main__ import main

asked: list[str] = []


def generate_auth_token(region: str) -> tuple[str, int]:
    assert region == "eu-west-1"
    asked.append(region)
    form = urlencode({"client_id": os.environ["TOKEN_CLIENT"], "client_secret": os.environ["TOKEN_SECRET"]}).encode()
    with urlopen(os.environ["TOKEN_URL"], form, timeout=5) as answer:  # noqa: S310 -- the tests' own http URL
        found = json.load(answer)
    return found["access_token"], int((time.time() + found["expires_in"]) * 1000)


MSKAuthTokenProvider.generate_auth_token = generate_auth_token

if __name__ == "__main__":
    main()
