"""A registry that requires a login: basic authentication, a token, OAuth and certificates, against a fake registry."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import encode_basic_auth, web

from stream_capi.avro.framing import SchemaKey
from stream_capi.avro.schemas import RegistrySchemas
from stream_capi.config.settings import Settings
from stream_capi.errors import RegistryUnavailable
from stream_capi.operations.cluster_check import Finding
from stream_capi.operations.preflight import schema_findings
from tests.avro.fake_registry import FakeRegistry
from tests.stack.tokens import Tokens

SECRET = "canary-of-a-registry"
BASIC = encode_basic_auth("capi", SECRET)


def _needs(allowed: Callable[[str], bool]) -> FakeRegistry:
    async def login(request: web.Request) -> web.Response | None:
        if allowed(request.headers.get("Authorization", "")):
            return None
        return web.json_response({"error_code": 401, "message": "Unauthorized"}, status=401)

    return FakeRegistry(login)


async def _asked(registry: FakeRegistry, properties: dict[str, Any]) -> None:
    source = RegistrySchemas(registry.url, properties)
    try:
        await source.load(SchemaKey("id", 1))
    finally:
        await source.aclose()


async def test_basic_authentication() -> None:
    async with _needs(BASIC.__eq__).serving() as registry:
        await _asked(registry, {"basic.auth.user.info": f"capi:{SECRET}"})
        with pytest.raises(RegistryUnavailable, match=r"status 401; check schema_registry.properties") as error:
            await _asked(registry, {"basic.auth.user.info": f"capi:{SECRET}-wrong"})
    assert SECRET not in str(error.value)


@pytest.mark.slow
async def test_oauth_with_client_credentials() -> None:
    tokens = Tokens(SECRET)
    properties = {
        "bearer.auth.credentials.source": "OAUTHBEARER",
        "bearer.auth.client.id": "capi",
        "bearer.auth.client.secret": SECRET,
        "bearer.auth.scope": "registry",
        "bearer.auth.issuer.endpoint.url": tokens.url,
        "bearer.auth.logical.cluster": "lsrc-1",
        "bearer.auth.identity.pool.id": "pool-1",
    }
    try:
        async with _needs(lambda given: given.startswith("Bearer ") and given.count(".") == 2).serving() as registry:
            await _asked(registry, properties)
            assert tokens.asked == 1
            with pytest.raises(RegistryUnavailable) as error:
                await _asked(registry, {**properties, "bearer.auth.client.secret": f"{SECRET}-wrong"})
    finally:
        tokens.stop()
    assert SECRET not in str(error.value)


async def test_a_fixed_token() -> None:
    properties = {
        "bearer.auth.credentials.source": "STATIC_TOKEN",
        "bearer.auth.token": SECRET,
        "bearer.auth.logical.cluster": "lsrc-1",
        "bearer.auth.identity.pool.id": "pool-1",
    }
    async with _needs(f"Bearer {SECRET}".__eq__).serving() as registry:
        await _asked(registry, properties)


async def test_certificates(tmp_path: Path) -> None:
    authority = trustme.CA()
    client = authority.issue_cert("client.test")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.configure_trust(tls)
    tls.verify_mode = ssl.CERT_REQUIRED
    for name, blob in (
        ("ca", authority.cert_pem),
        ("client", client.cert_chain_pems[0]),
        ("key", client.private_key_pem),
    ):
        blob.write_to_path(tmp_path / f"{name}.pem")
    trust = {"ssl.ca.location": str(tmp_path / "ca.pem")}
    own = {
        "ssl.certificate.location": str(tmp_path / "client.pem"),
        "ssl.key.location": str(tmp_path / "key.pem"),
    }
    async with FakeRegistry().serving(tls) as registry:
        await _asked(registry, {**trust, **own})
        with pytest.raises(RegistryUnavailable):
            await _asked(registry, trust)
        with pytest.raises(RegistryUnavailable):
            await _asked(registry, own)


async def test_check_goes_on_where_the_registry_s_properties_are_refused() -> None:
    settings = Settings.model_validate(
        {
            "schema_registry": {"url": "http://127.0.0.1:1", "properties": {"basic.auth.user.info": "no-colon"}},
            "pixels": [{"name": "main", "pixel_id": "p", "api_key_env": "KEY"}],
            "sources": [{"topic": "leads", "event": "generate_lead", "pixel": "main"}],
        }
    )
    found = [finding async for finding in schema_findings(settings)]
    assert found == [
        Finding(
            "schema registry",
            False,
            'schema_registry.properties."basic.auth.user.info": must be "user:password"',
        )
    ]
