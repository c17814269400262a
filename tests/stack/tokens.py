"""A token endpoint like that of a company's identity provider: it exchanges client credentials for a signed JWT."""

from __future__ import annotations

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

AUDIENCE = "kafka"
SECRET_OF_CLIENTS = "canary-of-an-oauth-client"
_KEY_ID = "tests"


class Tokens:
    """Signs tokens for any client that knows ``secret``; ``url`` is the token endpoint, ``asked`` counts its requests."""

    def __init__(self, secret: str = SECRET_OF_CLIENTS, seconds: float = 60) -> None:
        self.secret, self.seconds, self.asked = secret, seconds, 0
        self._key = generate_private_key(65537, 2048)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/token"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def keys(self) -> dict[str, Any]:
        """The public key as a JSON Web Key Set."""
        public = self._key.public_key().public_numbers()
        numbers = {"n": public.n.to_bytes(256, "big"), "e": public.e.to_bytes(3, "big")}
        key = {"kty": "RSA", "kid": _KEY_ID, "use": "sig", "alg": "RS256"}
        return {"keys": [key | {name: _coded(number) for name, number in numbers.items()}]}

    def token(self, subject: str, seconds: float | None = None) -> str:
        """A token for this subject, valid for so many seconds."""
        now = time.time()
        ends = now + (self.seconds if seconds is None else seconds)
        claims = {"sub": subject, "aud": AUDIENCE, "iat": int(now), "exp": int(ends), "iss": self.url}
        parts = ({"alg": "RS256", "typ": "JWT", "kid": _KEY_ID}, claims)
        signed = ".".join(_coded(json.dumps(part).encode()) for part in parts)
        return f"{signed}.{_coded(self._key.sign(signed.encode(), PKCS1v15(), SHA256()))}"

    def _answer(self, authorization: str, form: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        """RFC 6749, section 4.4: the client's credentials are in a basic authentication header, or in the form."""
        self.asked += 1
        client, secret = form.get("client_id", [""])[0], form.get("client_secret", [""])[0]
        if authorization.startswith("Basic "):
            client, _, secret = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        if secret != self.secret:
            return 401, {"error": "invalid_client", "error_description": "unknown client or wrong secret"}
        return 200, {"access_token": self.token(client), "token_type": "Bearer", "expires_in": int(self.seconds)}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        tokens = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the name is http.server's
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                status, answer = tokens._answer(self.headers.get("Authorization") or "", parse_qs(body))
                text = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, format: str, *args: Any) -> None:
                """Log nothing: requests would clutter the test's output."""

        return Handler


def _coded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
