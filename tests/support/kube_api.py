"""As much of a Kubernetes API server as Helm asks for when it installs without changing anything (`--dry-run`)."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

Object = dict[str, Any]

KINDS = {
    "v1": ("ConfigMap", "PersistentVolume", "Pod", "Secret", "Service", "ServiceAccount"),
    "apps/v1": ("Deployment", "StatefulSet"),
}
NOT_NAMESPACED = ("PersistentVolume",)
VERSION = {"major": "1", "minor": "33", "gitVersion": "v1.33.0"}


def _path(group: str) -> str:
    return f"/api/{group}" if "/" not in group else f"/apis/{group}"


def _discovery() -> dict[str, Object]:
    found: dict[str, Object] = {
        "/version": VERSION,
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": [
                {
                    "name": group.partition("/")[0],
                    "versions": [{"groupVersion": group, "version": group.partition("/")[2]}],
                    "preferredVersion": {"groupVersion": group, "version": group.partition("/")[2]},
                }
                for group in KINDS
                if "/" in group
            ],
        },
    }
    for group, kinds in KINDS.items():
        resources = [
            {
                "name": f"{kind.lower()}s",
                "singularName": kind.lower(),
                "kind": kind,
                "namespaced": kind not in NOT_NAMESPACED,
                "verbs": ["create", "get", "list", "patch"],
            }
            for kind in kinds
        ]
        found[_path(group)] = {
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group, "resources": resources,
        }  # fmt: skip
    return found


def _place(item: Object) -> str:
    meta = item["metadata"]
    within = "" if item["kind"] in NOT_NAMESPACED else f"/namespaces/{meta['namespace']}"
    return f"{_path(item['apiVersion'])}{within}/{item['kind'].lower()}s/{meta['name']}"


class _Handler(BaseHTTPRequestHandler):
    documents: ClassVar[dict[str, Object]] = {}

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        document = self.documents.get(path)
        status = 200
        if document is None and path.endswith("/secrets"):
            # Where Helm keeps releases: there are none.
            document = {"kind": "SecretList", "apiVersion": "v1", "metadata": {}, "items": []}
        if document is None:
            status = 404
            document = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the base class
        pass


@contextlib.contextmanager
def serving(objects: Sequence[Object] = ()) -> Iterator[str]:
    """Serve these objects until the block ends, and yield the URL."""
    documents = {**_discovery(), **{_place(item): item for item in objects}}
    handler = type("Handler", (_Handler,), {"documents": documents})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
