"""A real API server on a real etcd, with kubectl and helm as clients. It has no nodes or controllers: no pod starts."""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import trustme
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.ship.engines import definitions, engine
from tests.stack.process import Server, free_ports

TOKEN = "of-an-administrator"


class CommandFailed(Exception):
    """A command of kubectl or helm failed; the text is its standard error."""


class ApiServer:
    """Has the manifests' custom resources. Its namespaces enforce the pod security standard ``restricted``."""

    def __init__(self) -> None:
        self._etcd = Server("etcd")
        self._api = Server("kube-apiserver")
        self.folder = self._api.folder
        self._client, self._peer, self._port = free_ports(3)

    def start(self) -> Self:
        """Start; return once the API is ready and knows the custom resources."""
        urls = f"http://127.0.0.1:{self._client}"
        peer = f"http://127.0.0.1:{self._peer}"
        etcd = [f"--listen-client-urls={urls}", f"--advertise-client-urls={urls}", f"--listen-peer-urls={peer}"]
        etcd += [f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}", "--data-dir=data"]
        self._etcd.launch([str(engine("etcd")), *etcd, "--unsafe-no-fsync"], {}, lambda: _ok(f"{urls}/health"))
        self._write_files()
        api = [f"--etcd-servers={urls}", "--bind-address=127.0.0.1", f"--secure-port={self._port}"]
        api += ["--tls-cert-file=server.pem", "--tls-private-key-file=server.pem", "--token-auth-file=tokens.csv"]
        api += ["--service-account-key-file=accounts.pem", "--service-account-signing-key-file=accounts.pem"]
        api += ["--service-account-issuer=https://127.0.0.1", "--service-cluster-ip-range=10.0.0.0/24"]
        # That plugin accepts no pod without the namespace's default account, which no controller creates here.
        api += ["--authorization-mode=RBAC", "--disable-admission-plugins=ServiceAccount"]
        self._api.launch([str(engine("kube-apiserver")), *api], {}, self._ready, seconds=150)
        self.kubectl("apply", "--server-side", "--filename", str(definitions()))
        self.kubectl("wait", "--for=condition=Established", "customresourcedefinitions", "--all", "--timeout=60s")
        return self

    def stop(self) -> None:
        """Stop the API server first: without its etcd it would not end in time."""
        for server in (self._api, self._etcd):
            server.terminate()
            server.remove()

    def namespace(self, name: str) -> str:
        """Create a namespace. It refuses pods that aren't restricted, and warns of templates for such pods."""
        standard = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
        self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": standard}})
        return name

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl; return its output. A warning from the API server is an error."""
        return self._client_of("kubectl", ["--warnings-as-errors", *arguments], stdin)

    def helm(self, *arguments: str) -> str:
        """Run helm; return its output."""
        return self._client_of("helm", arguments, None)

    def create(self, manifest: dict[str, Any], *arguments: str) -> None:
        """Create one object. Raises CommandFailed with the API server's reason if it is refused."""
        self.kubectl("create", "--filename=-", *arguments, stdin=json.dumps(manifest))

    def get(self, kind: str, name: str, namespace: str) -> dict[str, Any]:
        """An object as the API server returns it."""
        found: dict[str, Any] = json.loads(self.kubectl("get", kind, name, "--output=json", "--namespace", namespace))
        return found

    def _client_of(self, program: str, arguments: Sequence[str], stdin: str | None) -> str:
        environ = {"KUBECONFIG": str(self.folder / "kubeconfig"), "HOME": str(self.folder), "PATH": os.defpath}
        command = [str(engine(program)), *arguments]
        ran = subprocess.run(
            command, input=stdin, env=environ, capture_output=True, text=True, check=False, timeout=120
        )
        if ran.returncode != 0:
            raise CommandFailed(f"{program} {' '.join(arguments)}: {ran.stderr}")
        return ran.stdout

    def _ready(self) -> bool:
        return _ok(f"https://127.0.0.1:{self._port}/readyz", self.folder / "ca.pem")

    def _write_files(self) -> None:
        """Write the files that the API server needs, and the clients' configuration."""
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.folder / "ca.pem")
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(self.folder / "server.pem")
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        form = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL
        (self.folder / "accounts.pem").write_bytes(key.private_bytes(*form, serialization.NoEncryption()))
        (self.folder / "tokens.csv").write_text(f'{TOKEN},admin,admin,"system:masters"\n')
        trusted = base64.b64encode(authority.cert_pem.bytes()).decode()
        cluster = {"server": f"https://127.0.0.1:{self._port}", "certificate-authority-data": trusted}
        context = {"cluster": "here", "user": "admin"}
        client = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "here", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": TOKEN}}],
            "contexts": [{"name": "here", "context": context}],
            "current-context": "here",
        }
        (self.folder / "kubeconfig").write_text(yaml.safe_dump(client))


def _ok(url: str, authority: Path | None = None) -> bool:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})  # noqa: S310 -- of this module
    context = ssl.create_default_context(cafile=authority) if authority else None
    try:
        with urllib.request.urlopen(request, timeout=5, context=context) as answer:  # noqa: S310 -- of this module
            return bool(answer.status == 200)
    except urllib.error.URLError:
        return False
