"""A real S3 server for tests, behind a proxy that counts requests and makes some of them fail.

    with s3_server() as server:
        subprocess.run([...], env=os.environ | server.environment)
        with server.proxy.fail("PUT", "*/CURRENT", how="lost"):
            ...
        assert server.proxy.counts()["PUT-part-copy"] == 3

The server is moto, in a process of its own; nobody checks signatures there. With KMSTREAM_S3_SERVER=radosgw it is a
Ceph object gateway, which does, and which knows conditions only as Ceph does (see `radosgw`).

`python tests/s3_server.py HOST` prints the environment as JSON and serves until its stdin ends.
"""

import itertools
import json
import os
import re
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import boto3
from faulty_proxy import FaultyProxy
from radosgw import rados_gateway

BUCKET = "tests"
KEY, SECRET, REGION = "tests", "tests-secret", "us-east-1"
RADOSGW = os.environ.get("KMSTREAM_S3_SERVER", "moto") == "radosgw"
START_SECONDS = 60  # importing moto on a busy machine
MOTO = """
import logging, os, sys
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(sys.argv[1], 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()  # ends with whoever started this, however that ends
os._exit(0)
"""


@dataclass(frozen=True)
class S3Server:
    """A running server; `url` is the proxy's, as is the endpoint of the environment."""

    proxy: FaultyProxy
    bucket: str = BUCKET
    _prefixes: Iterator[int] = field(default_factory=itertools.count)

    @property
    def url(self) -> str:
        return self.proxy.url

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use this server, and no other that is configured here."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": self.proxy.host,
        }

    def new_prefix(self) -> str:
        """Give the URI of a folder that nobody has used yet."""
        return f"s3://{self.bucket}/p{next(self._prefixes):03d}"


@contextmanager
def s3_server(host: str = "127.0.0.1") -> Iterator[S3Server]:
    """Start a server with an empty bucket, and the proxy; both end with the block, or with this process."""
    started = rados_gateway(host, KEY, SECRET) if RADOSGW else moto(host)
    with started as upstream, FaultyProxy(upstream, host, conditions=not RADOSGW) as proxy:
        client = boto3.client(
            "s3", endpoint_url=upstream, aws_access_key_id=KEY, aws_secret_access_key=SECRET, region_name=REGION
        )
        client.create_bucket(Bucket=BUCKET)
        client.close()
        yield S3Server(proxy)


@contextmanager
def moto(host: str) -> Iterator[str]:
    process = subprocess.Popen([sys.executable, "-c", MOTO, host], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
        port = process.stdout.readline().decode().strip() if ready else ""
        if not re.fullmatch("[0-9]+", port):
            msg = f"moto did not start on {host}: it said {port!r} within {START_SECONDS} s"
            raise RuntimeError(msg)
        yield f"http://{host}:{port}"
    finally:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    with s3_server(sys.argv[1]) as serving:
        sys.stdout.write(json.dumps(serving.environment) + "\n")
        sys.stdout.flush()
        sys.stdin.read()
