"""Certificates, tokens and kubeconfigs, fresh for each cluster.

One authority signs what needs TLS; who somebody is goes by token, in the groups that RBAC's default roles expect.
"""

import base64
import csv
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from .commands import run
from .layout import API_SERVICE, DNS_DOMAIN, NODE, Layout

DAYS = "3650"
Words = list[str | Path]
_CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


@dataclass(frozen=True)
class User:
    name: str
    group: str = ""


USERS = {
    "admin": User("admin", "system:masters"),
    "kube-controller-manager": User("system:kube-controller-manager"),
    "kube-scheduler": User("system:kube-scheduler"),
    "kube-proxy": User("system:kube-proxy"),
    "kubelet": User(f"system:node:{NODE}", "system:nodes"),
}


def create(layout: Layout) -> None:
    layout.credentials.mkdir(mode=0o700)
    _authority(layout)
    _signed(layout, "apiserver", "/CN=kube-apiserver", _server_extensions(layout))
    _signed(layout, "apiserver-to-kubelet", "/O=system:masters/CN=apiserver-to-kubelet", "extendedKeyUsage=clientAuth")
    key = layout.credentials / "service-accounts.key"
    run(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", key])
    _tokens(layout)


def _authority(layout: Layout) -> None:
    files: Words = ["-keyout", layout.credentials / "ca.key", "-out", layout.credentials / "ca.crt"]
    extensions = ["-addext", "keyUsage=critical,keyCertSign,digitalSignature"]
    run(["openssl", "req", "-x509", *_CURVE, "-subj", f"/CN={layout.name}", "-days", DAYS, *extensions, *files])


def _signed(layout: Layout, name: str, subject: str, extensions: str) -> None:
    folder = layout.credentials
    request, chosen = folder / f"{name}.csr", folder / f"{name}.ext"
    chosen.write_text(extensions)
    run(["openssl", "req", *_CURVE, "-subj", subject, "-keyout", folder / f"{name}.key", "-out", request])
    authority: Words = ["-CA", folder / "ca.crt", "-CAkey", folder / "ca.key", "-CAcreateserial", "-days", DAYS]
    run(["openssl", "x509", "-req", "-in", request, *authority, "-extfile", chosen, "-out", folder / f"{name}.crt"])


def _server_extensions(layout: Layout) -> str:
    short = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"]
    names = ["localhost", *short, f"{short[-1]}.{DNS_DOMAIN}"]
    addresses = ["127.0.0.1", API_SERVICE, layout.address]
    alternatives = [f"DNS:{name}" for name in names] + [f"IP:{address}" for address in addresses]
    return f"extendedKeyUsage=serverAuth\nsubjectAltName={','.join(alternatives)}\n"


def _tokens(layout: Layout) -> None:
    with (layout.credentials / "tokens.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        for component, user in USERS.items():
            token = secrets.token_urlsafe(32)
            writer.writerow([token, user.name, component, *([user.group] if user.group else [])])
            path = layout.kubeconfig if component == "admin" else kubeconfig(layout, component)
            _write_kubeconfig(layout, path, user.name, token)


def kubeconfig(layout: Layout, component: str) -> Path:
    return layout.credentials / f"{component}.kubeconfig"


def token(layout: Layout) -> str:
    """The admin's. Not from the kubeconfig: that file is the user's, and kubectl writes it anew in another format."""
    path = layout.credentials / "tokens.csv"
    with path.open(newline="") as file:
        for found, _, component, *_ in csv.reader(file):
            if component == "admin":
                return found
    raise ValueError(f"{path} has no token for admin")


def ensure_kubeconfig(layout: Layout) -> None:
    """What the user made of it stays; only a lost one is written again."""
    if not layout.kubeconfig.exists():
        _write_kubeconfig(layout, layout.kubeconfig, USERS["admin"].name, token(layout))


def _write_kubeconfig(layout: Layout, path: Path, user: str, token: str) -> None:
    """As JSON, which is YAML too; the authority is embedded, so that the file may be copied elsewhere."""
    authority = base64.b64encode((layout.credentials / "ca.crt").read_bytes()).decode()
    cluster = {"server": layout.server, "certificate-authority-data": authority}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": layout.name, "cluster": cluster}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": layout.name, "context": {"cluster": layout.name, "user": user}}],
        "current-context": layout.name,
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(config, indent=2) + "\n")
    if owner := os.environ.get("SUDO_UID"):
        os.chown(path, int(owner), -1)  # `sudo ... up`, and then kubectl as oneself
