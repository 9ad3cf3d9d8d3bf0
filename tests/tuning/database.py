"""A PostgreSQL server of the tests' own, as Debian's package installs it."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PASSWORD = "correct-horse%40battery"


def binaries() -> Path | None:
    """The folder of the server's programs, None where there are none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    here = shutil.which("initdb")
    return found[-1].parent if found else Path(here).parent if here else None


@contextmanager
def server(programs: Path) -> Iterator[str]:
    """Runs a new server and gives the URL of its database, password included.

    The server refuses to run as root, who runs it as the user that Debian's package has made.
    """
    user = "postgres" if os.geteuid() == 0 else None
    root = Path(tempfile.mkdtemp(prefix="autopeft-postgres-"))
    secret = root / "password"
    secret.write_text(PASSWORD.replace("%40", "@"))
    if user:
        for path in (root, secret):
            shutil.chown(path, user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def call(program: str, *arguments: str) -> None:
        subprocess.run(
            [programs / program, "-D", root / "data", *arguments], check=True, user=user, cwd=root,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip

    call("initdb", "-U", "searcher", "-A", "scram-sha-256", f"--pwfile={secret}", "--no-sync")
    options = f"-p {port} -k {root} -c listen_addresses=127.0.0.1 -c fsync=off"
    call("pg_ctl", "-w", "-l", str(root / "log"), "-o", options, "start")
    try:
        yield f"postgresql://searcher:{PASSWORD}@127.0.0.1:{port}/postgres"
    finally:
        call("pg_ctl", "-w", "-m", "immediate", "stop")
        shutil.rmtree(root)
