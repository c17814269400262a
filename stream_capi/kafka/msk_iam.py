"""Amazon MSK with IAM: tokens of the vendor's signer for OAUTHBEARER (the extra ``aws``).

``AWS_MSK_IAM``, as Java clients call it, is no mechanism of librdkafka: to the brokers it is OAUTHBEARER with a token that is
a signed request. It is signed here, with the credentials that the process has, and asks nobody.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from stream_capi.errors import ConfigurationError

MECHANISM = "AWS_MSK_IAM"
NAMES = ("sasl.mechanism", "sasl.mechanisms")  # two names of one property
_KEY = 'kafka.properties."sasl.mechanism"'
# b-1.cluster.a1b2c3.c2.kafka.eu-west-1.amazonaws.com, boot-a1b2c3.c1.kafka-serverless.eu-west-1.amazonaws.com
_REGION = re.compile(r"\.kafka(?:-serverless)?\.([a-z0-9-]+)\.(?:vpce\.)?amazonaws\.com")
_VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION")
_CHATTY = ("botocore", "boto3", "urllib3")  # at debug they log what they sign, session tokens included


class MskToken:
    """The client's ``oauth_cb``: a new token each time it is called, on a thread of the client."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap

    def __call__(self, _: str = "") -> tuple[str, float]:
        """A token, and when it ends in epoch seconds. Raises ConfigurationError, in words without any secret."""
        sign = _signer()
        region = self._region()
        try:
            token, milliseconds = sign(region)
        except Exception as error:  # of the AWS libraries, whose texts may quote credentials
            raise ConfigurationError(
                [
                    f"{_KEY}: no token for {MECHANISM} ({type(error).__name__}): give this process AWS credentials (a role "
                    "of its pod or instance, AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"
                ]
            ) from None
        return token, milliseconds / 1000

    def _region(self) -> str:
        found = _REGION.search(self._bootstrap)
        given = [found[1]] if found else [os.environ[name] for name in _VARIABLES if os.environ.get(name)]
        if not given:
            why = f"the region of the cluster is not in kafka.bootstrap_servers; set {_VARIABLES[0]}"
            raise ConfigurationError([f"{_KEY}: {MECHANISM}: {why}"])
        return given[0]


def is_meant(properties: Mapping[str, Any]) -> bool:
    """Whether these properties ask for it."""
    return any(str(properties.get(name, "")).upper() == MECHANISM for name in NAMES)


def as_oauthbearer(properties: Mapping[str, Any], bootstrap: str) -> dict[str, Any]:
    """The properties that librdkafka takes in place of these."""
    kept = {name: value for name, value in properties.items() if name not in NAMES}
    return {**kept, "sasl.mechanism": "OAUTHBEARER", "oauth_cb": MskToken(bootstrap)}


def _signer() -> Callable[[str], tuple[str, int]]:
    try:
        from aws_msk_iam_sasl_signer import MSKAuthTokenProvider
    except ImportError:
        why = f"{MECHANISM} needs the vendor's signer: install stream-capi[aws]"
        raise ConfigurationError([f"{_KEY}: {why}"]) from None
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    sign: Callable[[str], tuple[str, int]] = MSKAuthTokenProvider.generate_auth_token
    return sign
