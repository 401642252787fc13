"""A Ceph object gateway on a cluster of one node: a second, independent S3 server, which checks signatures.

Where the programs are (Debian: apt install --no-install-recommends radosgw ceph-mon ceph-osd), it starts in about ten
seconds and keeps its objects in memory. Seen of 16.2, where it differs from S3: PUT knows If-None-Match: * and, without
the quotes around the ETag only, If-Match, both so that one of many writers wins; an object that is not there fails
If-Match by 412, not 404; CompleteMultipartUpload, CopyObject and DELETE do not know them.
"""

import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

PROGRAMS = ("monmaptool", "ceph", "ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "setpriv")
START_SECONDS = 90
# No authentication inside the cluster, which without it can't encrypt either; one copy of everything.
CONFIG = """
[global]
fsid = {fsid}
mon host = {monitors}
public addr = {host}
auth cluster required = none
auth service required = none
auth client required = none
ms cluster mode = crc
ms service mode = crc
ms client mode = crc
ms mon cluster mode = crc
ms mon service mode = crc
ms mon client mode = crc
ms bind ipv6 = false
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 4294967296
mon allow pool size one = true
mon data = {folder}/mon
osd data = {folder}/osd
rgw data = {folder}/rgw
run dir = {folder}
log file = {folder}/$name.log
admin socket = {folder}/$name.asok
pid file = {folder}/$name.pid
rgw frontends = beast endpoint={host}:{port}
"""


@contextmanager
def rados_gateway(host: str, key: str, secret: str) -> Iterator[str]:
    """Start a gateway with one user, and give its URL; it ends with the block, or with this process."""
    if missing := [program for program in PROGRAMS if shutil.which(program) is None]:
        pytest.skip(f"KMSTREAM_S3_SERVER=radosgw needs {', '.join(missing)}")
    with ExitStack() as ends:
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="radosgw-", ignore_cleanup_errors=True)))
        fsid, disk = uuid.uuid4(), uuid.uuid4()
        v2, v1, port = free_ports(host, 3)
        monitors = f"[v2:{host}:{v2},v1:{host}:{v1}]"
        config = folder / "ceph.conf"
        config.write_text(CONFIG.format(fsid=fsid, monitors=monitors, host=host, folder=folder, port=port))
        for name in ("mon", "osd", "rgw"):
            (folder / name).mkdir()

        def run(program: str, *arguments: object) -> None:
            command = [program, *map(str, arguments)]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=START_SECONDS)
            if done.returncode:
                msg = f"{' '.join(command)}: {done.stderr[-2000:]}"
                raise RuntimeError(msg)

        def start(program: str, *arguments: str) -> None:
            command = ["setpriv", "--pdeathsig", "KILL", program, *arguments, "-c", str(config), "-f"]
            with (folder / f"{program}.out").open("wb") as log:
                process = subprocess.Popen(command, stdout=log, stderr=log)
            ends.callback(process.wait)
            ends.callback(process.kill)

        run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", monitors, folder / "monmap")
        run("ceph-mon", "-i", "a", "--mkfs", "--monmap", folder / "monmap", "-c", config)
        start("ceph-mon", "-i", "a")
        run("ceph", "-c", config, "--connect-timeout", START_SECONDS, "osd", "new", disk, 0)
        run("ceph-osd", "-i", 0, "--mkfs", "--osd-uuid", disk, "-c", config)
        start("ceph-osd", "-i", "0")
        start("radosgw", "-n", "client.rgw")
        user = ("--uid", key, "--display-name", key, "--access-key", key, "--secret-key", secret)
        run("radosgw-admin", "-c", config, "user", "create", *user)
        url = f"http://{host}:{port}"
        wait_for_answer(url)
        yield url


def free_ports(host: str, n: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(n)]
        for one in sockets:
            one.bind((host, 0))
        return [one.getsockname()[1] for one in sockets]


def wait_for_answer(url: str) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5):
                return
        except urllib.error.URLError as cause:
            if time.monotonic() > end:
                msg = f"no gateway answers at {url} after {START_SECONDS} s"
                raise RuntimeError(msg) from cause
        time.sleep(0.1)
