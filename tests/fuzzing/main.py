"""Schemathesis over the whole document, against real servers on both stores: no 5xx, no answer that the document does
not have, nothing accepted that it forbids, nothing refused that it allows.

    main.py AKA POSTGRES_BIN SECONDS
"""

import json
import os
import pathlib
import pwd
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager

HERE = pathlib.Path(__file__).resolve().parent
AKA, POSTGRES_BIN, SECONDS = sys.argv[1:4]
REPORTS = pathlib.Path("target/fuzzing").resolve()


@contextmanager
def running(command, stop=signal.SIGTERM, **options):
    """A process that ends with the block."""
    process = subprocess.Popen(command, **options)
    try:
        yield process
    finally:
        process.send_signal(stop)
        process.wait(30)


@contextmanager
def sqlite():
    with tempfile.TemporaryDirectory(prefix="aka-fuzzing-") as directory:
        yield f"sqlite://{directory}/aka.db"


@contextmanager
def postgres():
    """A cluster of its own, which is thrown away."""
    with tempfile.TemporaryDirectory(prefix="aka-fuzzing-") as directory, socket.socket() as free:
        # PostgreSQL does not run as root.
        user = pwd.getpwnam("postgres") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
        os.chown(directory, user.pw_uid, user.pw_gid)
        options = {"cwd": "/", "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        if os.getuid() == 0:
            options |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        initdb = [f"{POSTGRES_BIN}/initdb", "-U", "aka", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"]
        subprocess.run([*initdb, "-D", f"{directory}/data"], check=True, **options)
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        server = [f"{POSTGRES_BIN}/postgres", "-D", f"{directory}/data", "-c", f"port={port}", "-c", "fsync=off"]
        server += ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        with running(server, stop=signal.SIGINT, **options):
            yield f"postgres://aka@127.0.0.1:{port}/postgres"


def aka(url, *arguments):
    """Runs the program; once more where PostgreSQL has not begun to listen."""
    for attempt in range(50):
        done = subprocess.run(
            [AKA, *arguments], env=os.environ | {"DATABASE_URL": url}, capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            return done.stdout
        time.sleep(0.2)
    sys.exit(f"aka {' '.join(arguments)}: {done.stderr}")


def fuzz(store, url):
    aka(url, "migrate", "up")
    tenant = json.loads(aka(url, "tenant", "create", "--name", "Fuzzing", "--slug", "fuzzing", "--master"))["id"]
    key = json.loads(aka(url, "key", "create", "--tenant", "fuzzing", "--scopes", "all"))
    log = (REPORTS / f"{store}.log").open("w")
    serve = [AKA, "serve", "--listen", "127.0.0.1:0"]
    environment = os.environ | {"DATABASE_URL": url, "AKA_LOG": "warn"}
    with running(serve, env=environment, stdout=subprocess.PIPE, stderr=log, text=True) as server:
        address = server.stdout.readline().split()[-1]
        headers = {"X-API-Key": key["raw_key"], "X-Tenant-ID": tenant}
        rule = f'permit (principal == ApiKey::"{key["id"]}", action, resource);'
        policy = {"name": "Fuzzing goes on", "priority": 1000000, "cedar_policy_set": rule}
        request = urllib.request.Request(
            f"{address}/v1/policies",
            json.dumps(policy).encode(),
            headers | {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as made:
            policy_id = json.load(made)["id"]
        hooks = {"SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE)}
        kept = {"KEPT_API_KEY": key["id"], "KEPT_POLICY": policy_id}
        command = ["schemathesis", "--config-file", str(HERE / "schemathesis.toml"), "run", f"{address}/openapi.json"]
        for name, value in headers.items():
            command += ["--header", f"{name}: {value}"]
        command += ["--checks", "all", "--continue-on-failure", "--max-examples", "20", "--max-time", SECONDS]
        # The same cases each time, as far as the time goes: a run fails for what was changed, and not for its luck.
        command += ["--seed", os.environ.get("FUZZING_SEED", "1")]
        done = subprocess.run(
            command, env=os.environ | hooks | kept, capture_output=True, text=True, cwd=REPORTS, check=False
        )
        (REPORTS / f"{store}.txt").write_text(done.stdout + done.stderr)
        if server.poll() is not None:
            sys.exit(f"{store}: the server has ended\n{(REPORTS / f'{store}.log').read_text()}")
    if done.returncode != 0:
        sys.exit(f"{done.stdout}{done.stderr}\n{store}: Schemathesis has found something")
    tested = re.search(r"Tested: (\d+)", done.stdout)[1]
    cases = re.search(r"(\d+) generated[^\n]*", done.stdout)[0]
    print(f"{store}: {tested} operations, test cases: {cases}", flush=True)


REPORTS.mkdir(parents=True, exist_ok=True)
for store in (sqlite, postgres):
    with store() as url:
        fuzz(store.__name__, url)
