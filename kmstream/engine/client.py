"""The connection to a Dask cluster: which one is meant, opened for the time of a pass."""

import logging
import socket
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from typing import Any

from kmstream.errors import ClusterError, ConfigError

_LONGEST_GREETING = 1 << 20  # bytes
_CONNECT_SECONDS = 10.0


def find_active_client() -> Any | None:  # noqa: ANN401 - distributed is imported late
    """Give this process's active `distributed.Client`; None if there is none, and inside a task of a worker.

    A run inside a task would wait for tasks that wait for its own thread.
    """
    distributed = sys.modules.get("distributed")
    if distributed is None or not hasattr(distributed, "Client"):
        return None
    with suppress(ValueError):
        distributed.get_worker()
        return None
    with suppress(ValueError):
        client = distributed.Client.current()
        return client if client.status == "running" and not client.asynchronous else None
    return None


@contextmanager
def open_client(address: str) -> Iterator[Any]:
    """Give a client for the time of one pass; the active one where no address is configured."""
    if not address:
        yield find_active_client()
        return
    from distributed import Client

    _check_protocol(address)
    try:
        _check_greeting(address)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other versions: those that matter end the run, in one sentence
            client = Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ImportError) as cause:
        said = str(cause).strip().partition("\n")[0] or "no answer"
        error = ClusterError(f"no Dask scheduler can be reached at engine.dask_address {address}: {said}")
        error.add_note("Start it, or leave engine.dask_address empty to run on this machine's threads.")
        raise error from cause
    log = logging.getLogger("distributed.client")
    level = log.level
    try:
        log.setLevel(logging.CRITICAL)  # what it would say of a lost scheduler, with tracebacks, an error says
        yield client
    finally:
        with suppress(OSError, TimeoutError):
            client.close(timeout=_CONNECT_SECONDS)  # type: ignore[no-untyped-call]
        log.setLevel(level)


def _check_protocol(address: str) -> None:
    """Refuse an address that Dask can't use; it would say so too, and then wait for a client that never was.

    Raises
    ------
    ConfigError
    """
    from distributed.comm.registry import get_backend
    from distributed.security import Security

    protocol = address.partition("://")[0]
    try:
        get_backend(protocol)
    except ValueError as cause:
        error = ConfigError(f"engine.dask_address {address} can't be used: {cause}")
        error.add_note("Write it as the scheduler logs it, like tcp://scheduler:8786.")
        raise error from cause
    security = Security()  # type: ignore[no-untyped-call]
    arguments = security.get_connection_args("client")  # type: ignore[no-untyped-call]
    if protocol == "tls" and arguments["ssl_context"] is None:
        error = ConfigError(f"engine.dask_address {address} needs certificates; Dask's configuration names none")
        error.add_note("Set distributed.comm.tls there: ca-file, and key and cert of the client.")
        raise error


def _check_greeting(address: str) -> None:
    """Refuse an address where another program listens: Dask would take what it says for lengths, or wait for ever.

    Raises
    ------
    ClusterError
    OSError
        If nothing listens there.
    """
    from distributed.comm.addressing import parse_address, parse_host_port

    protocol, location = parse_address(address)
    if protocol != "tcp":
        return
    with socket.create_connection(parse_host_port(location), _CONNECT_SECONDS) as opened:
        try:
            greeting = opened.recv(8, socket.MSG_WAITALL)  # a Dask server begins, with the length of what it says
        except TimeoutError:
            greeting = b""
    if not 0 < int.from_bytes(greeting, "little") < _LONGEST_GREETING:
        error = ClusterError(f"what listens at engine.dask_address {address} is no Dask scheduler")
        error.add_note("Write it as the scheduler logs it, like tcp://scheduler:8786; its dashboard has another port.")
        raise error


def lost_errors() -> tuple[type[Exception], ...]:
    """Give what a client raises that has lost its scheduler."""
    from distributed.client import ClosedClientError

    return OSError, TimeoutError, CancelledError, ClosedClientError
