"""A model hub on this machine that takes repositories and commits, and keeps what it was sent."""

import base64
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace


@contextmanager
def fake_hub():
    """Lends a running hub: ``url``, ``repositories`` (payloads by name), ``files`` and ``requests`` as it saw them.

    With ``refusal`` set to a status it answers everything with it, and repeats the request's token, as a careless
    server might. The statuses in ``falters`` are its answers to the next requests, one each.
    """
    held = SimpleNamespace(url="", repositories={}, files={}, requests=[], refusal=None, falters=[], tokens=set())

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments):
            """Says nothing on stderr."""

        def answer(self, status, content):
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def body(self):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def handle_any(self):
            body, path = self.body(), self.path.partition("?")[0]
            held.requests.append(f"{self.command} {path}")
            held.tokens.add(self.headers.get("Authorization", ""))
            if refusal := held.falters.pop(0) if held.falters else held.refusal:
                self.answer(refusal, {"error": f"no: {self.headers.get('Authorization')}"})
                return
            self.answer(*respond(path, body))

        do_GET = do_POST = do_PUT = handle_any  # noqa: N815 - the names that http.server calls

    def respond(path, body):
        if path == "/api/repos/create":
            return _create(held, json.loads(body))
        if path == "/api/validate-yaml":
            broken = "base_model: /" in json.loads(body)["content"]
            return (400, {"errors": [{"message": "base_model must be a model id"}]}) if broken else (200, {})
        if "/preupload/" in path:
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = ["lfs" if name.endswith(".safetensors") else "regular" for name in names]
            listed = zip(names, modes, strict=True)
            return 200, {"files": [{"path": n, "uploadMode": m, "shouldIgnore": False} for n, m in listed]}
        if path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**one, "actions": {"upload": {"href": f"{held.url}/blob/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]
            return 200, {"transfer": "basic", "objects": objects}
        if path.startswith("/blob/"):
            held.files[path.removeprefix("/blob/")] = body
            return 200, {}
        assert "/commit/" in path, path
        return _commit(held, path, body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    held.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield held
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _create(held, payload):
    name = f"{payload['organization'] or 'me'}/{payload['name']}"
    if name in held.repositories:
        return 409, {"error": "You already created this model repo", "url": f"{held.url}/{name}"}
    held.repositories[name] = payload
    return 200, {"url": f"{held.url}/{name}"}


def _commit(held, path, body):
    for line in body.splitlines():
        item = json.loads(line)
        value = item["value"]
        if item["key"] == "file":
            held.files[value["path"]] = base64.b64decode(value["content"])
        elif item["key"] == "lfsFile":
            held.files[value["path"]] = held.files.pop(value["oid"])
    name = path.removeprefix("/api/models/").partition("/commit/")[0]
    return 200, {"commitUrl": f"{held.url}/{name}/commit/0", "commitOid": "0" * 40, "hookOutput": ""}
