"""A proxy in front of an S3 server that counts requests and makes some of them fail.

It passes everything on as it came, Host header included, so signatures hold. With `conditions=True` it also does what
S3 does and moto does not: requests that write the same key are done one at a time, and If-Match and If-None-Match are
held against what the key has then. (moto looks and writes in two steps, so two writers that both ask for "only if it is
new" could both get it; it ignores If-Match when a multipart upload is completed, and both when an object is copied.)
"""

import asyncio
import io
import itertools
import socket
import struct
import threading
from collections import Counter, defaultdict
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import TracebackType
from typing import Literal, Self
from urllib.parse import parse_qs, unquote, urlsplit

import aiohttp
import yarl
from aiohttp import web

START_SECONDS = 30
LONGEST_SECONDS = 60  # no request is kept waiting longer, whatever its fault

Kind = Literal[
    "LIST", "HEAD", "GET", "PUT", "COPY", "DELETE", "DELETE-many",
    "POST-multipart-create", "PUT-part", "PUT-part-copy", "COMPLETE", "ABORT", "LIST-uploads", "LIST-parts", "BUCKET",
]  # fmt: skip
How = Literal["500", "503", "conflict", "denied", "expired", "reset", "timeout", "slow", "cut", "lost"]
WRITES = ("PUT", "COPY", "COMPLETE", "DELETE")
CONDITIONS = ("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "x-amz-copy-source-if-match")
ERRORS = {
    "500": (500, "InternalError", "We encountered an internal error. Please try again."),
    "503": (503, "SlowDown", "Please reduce your request rate."),
    "conflict": (409, "ConditionalRequestConflict", "A conflicting operation occurred. Please retry."),
    "denied": (403, "AccessDenied", "Access Denied"),
    "expired": (400, "ExpiredToken", "The provided token has expired."),
}
# These belong to one connection, not to the message.
HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding", "content-length", "date", "server", "expect")


@dataclass(frozen=True)
class Request:
    """One request that came, and what became of it. `key` is the prefix of a LIST; bytes are those of the bodies."""

    kind: str
    bucket: str
    key: str
    range: str
    bytes_in: int
    bytes_out: int
    status: int  # what the client was told; 0 where it was told nothing
    conditions: Mapping[str, str]
    fault: str = ""


@dataclass
class Fault:
    """A rule that makes requests fail; in a `with` block only as long as that lasts."""

    kind: str
    key: str
    how: How
    times: int | None
    after: int
    seconds: float
    seen: int = 0
    struck: int = 0

    def takes(self, kind: str, key: str) -> bool:
        if not (fnmatchcase(kind, self.kind) and fnmatchcase(key, self.key)):
            return False
        self.seen += 1
        if self.seen <= self.after or (self.times is not None and self.struck >= self.times):
            return False
        self.struck += 1
        return True

    def end(self) -> None:
        self.times = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.end()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


def say_error(status: int, code: str, message: str) -> Answer:
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Answer(status, {"Content-Type": "application/xml"}, text.encode())


def classify(method: str, target: str, headers: Mapping[str, str]) -> tuple[Kind, str, str]:
    """Tell what an S3 request (path style) asks for: its kind, bucket and key."""
    url = urlsplit(target)
    query = parse_qs(url.query, keep_blank_values=True)
    bucket, _, key = unquote(url.path.removeprefix("/")).partition("/")
    copies = "x-amz-copy-source" in headers
    kind: Kind
    match method, bool(key):
        case "HEAD", _:
            kind = "HEAD"
        case "GET", False:
            kind, key = ("LIST-uploads" if "uploads" in query else "LIST"), query.get("prefix", [""])[0]
        case "GET", True:
            kind = "LIST-parts" if "uploadId" in query else "GET"
        case "PUT", True if "partNumber" in query:
            kind = "PUT-part-copy" if copies else "PUT-part"
        case "PUT", True:
            kind = "COPY" if copies else "PUT"
        case "POST", True:
            kind = "POST-multipart-create" if "uploads" in query else "COMPLETE"
        case "POST", False if "delete" in query:
            kind = "DELETE-many"
        case "DELETE", True:
            kind = "ABORT" if "uploadId" in query else "DELETE"
        case _:
            kind = "BUCKET"
    return kind, bucket, key


@dataclass
class FaultyProxy:
    """Passes requests on to an S3 server, keeps a record of each, and lets those fail that a rule names.

    It runs in a thread of its own.
    """

    upstream: str
    host: str = "127.0.0.1"
    conditions: bool = False
    url: str = ""
    _done: list[Request] = field(default_factory=list)
    _faults: list[Fault] = field(default_factory=list)
    _news: threading.Condition = field(default_factory=threading.Condition)
    _writing: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))

    @property
    def requests(self) -> list[Request]:
        """The records since the start or the last `clear`, in the order in which they were answered."""
        with self._news:
            return list(self._done)

    def counts(self) -> Counter[str]:
        """Count the records by kind."""
        return Counter(request.kind for request in self.requests)

    def clear(self) -> None:
        """Forget the records and the faults."""
        with self._news:
            self._done.clear()
            self._faults.clear()

    def wait_for(self, kind: str, key: str = "*", *, n: int = 1, seconds: float = 30) -> list[Request]:
        """Wait until n requests of a kind (glob) and key (glob) are on record; one that times out is so at once."""

        def found() -> list[Request]:
            return [one for one in self._done if fnmatchcase(one.kind, kind) and fnmatchcase(one.key, key)]

        with self._news:
            if not self._news.wait_for(lambda: len(found()) >= n, seconds):
                msg = f"waited {seconds} s for {n} {kind} of {key}, saw {self._done[-5:]}"
                raise TimeoutError(msg)
            return found()

    def fail(
        self,
        kind: str = "*",
        key: str = "*",
        *,
        how: How = "503",
        times: int | None = 1,
        after: int = 0,
        seconds: float = 1.0,
    ) -> Fault:
        """Let requests of a kind (glob) and key (glob) fail: so many times (None: always), after so many went well.

        Parameters
        ----------
        how : str
            `500` `503` `conflict` `denied` `expired`: that error of S3, without asking the server; `reset`: the
            connection is reset before anything is done; `timeout`: no answer until the client gives up; `lost`: the
            server does it, then the connection is reset; `cut`: the connection ends after half of the body, of the
            request where it has one, else of the answer; `slow`: the answer's body takes so many `seconds`.
        """
        if not any(fnmatchcase(known, kind) for known in Kind.__args__) or how not in How.__args__:
            msg = f"no request is of kind {kind!r} or fails by {how!r}; kinds: {Kind.__args__}, how: {How.__args__}"
            raise ValueError(msg)
        fault = Fault(kind, key, how, times, after, seconds)
        with self._news:
            self._faults.append(fault)
        return fault

    def __enter__(self) -> Self:
        started: Future[int] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)), name="faulty-proxy")
        self._thread.daemon = True
        self._thread.start()
        self.url = f"http://{self.host}:{started.result(START_SECONDS)}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(START_SECONDS)

    async def _serve(self, started: Future[int]) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            timeout = aiohttp.ClientTimeout(total=LONGEST_SECONDS)
            async with aiohttp.ClientSession(auto_decompress=False, timeout=timeout) as self._session:
                runner = web.ServerRunner(web.Server(self._answer, access_log=None), shutdown_timeout=0)
                await runner.setup()
                await web.TCPSite(runner, self.host, 0).start()
                started.set_result(runner.addresses[0][1])
                await self._stop.wait()
                await runner.cleanup()
        except Exception as error:
            if not started.done():
                started.set_exception(error)
            raise

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        kind, bucket, key = classify(request.method, request.raw_path, request.headers)
        with self._news:
            fault = next((fault for fault in self._faults if fault.takes(kind, key)), None)
        how = fault.how if fault else ""
        conditions = {name: request.headers[name] for name in CONDITIONS if name in request.headers}

        def note(n_in: int, n_out: int, status: int) -> None:
            record = Request(kind, bucket, key, request.headers.get("Range", ""), n_in, n_out, status, conditions, how)
            with self._news:
                self._done.append(record)
                self._news.notify_all()

        if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            if how == "cut" and request.content_length:
                half = await request.content.readexactly(request.content_length // 2)
                note(len(half), 0, 0)
                return reset(request)
            body = await request.content.read()
        except (ConnectionError, asyncio.IncompleteReadError):  # the client has gone, perhaps killed
            note(0, 0, 0)
            return reset(request)
        if how in ("reset", "timeout"):
            note(len(body), 0, 0)
            if how == "timeout":
                await gone(request)
            return reset(request)
        answer = say_error(*ERRORS[how]) if how in ERRORS else await self._forward(request, kind, body)
        n_out = 0 if request.method == "HEAD" or how == "lost" else len(answer.body)
        note(len(body), n_out // 2 if how == "cut" else n_out, 0 if how == "lost" else answer.status)
        if how == "lost":
            return reset(request)
        return await send(request, answer, fault)

    async def _forward(self, request: web.BaseRequest, kind: Kind, body: bytes) -> Answer:
        if not (self.conditions and kind in WRITES):
            return await self._ask(request.method, request.raw_path, request.headers, body)
        async with self._writing[urlsplit(request.raw_path).path]:
            refused = await self._refuse(request)
            return refused or await self._ask(request.method, request.raw_path, request.headers, body)

    async def _refuse(self, request: web.BaseRequest) -> Answer | None:
        """Hold the conditions of a request that writes against what its key has now."""
        expected, absent = request.headers.get("If-Match"), request.headers.get("If-None-Match") == "*"
        if expected is None and not absent:
            return None
        signed = {"Authorization": request.headers.get("Authorization", "")}  # moto looks whether there is one
        found = await self._ask("HEAD", urlsplit(request.raw_path).path, signed, b"")
        if found.status == 404:
            return None if absent else say_error(404, "NoSuchKey", "The specified key does not exist.")
        if absent or (expected != "*" and found.headers["ETag"].strip('"') != (expected or "").strip('"')):
            message = "At least one of the pre-conditions you specified did not hold"
            return say_error(412, "PreconditionFailed", message)
        return None

    async def _ask(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        kept = {name: value for name, value in headers.items() if name.lower() not in HOP_BY_HOP}
        async with self._session.request(
            method,
            yarl.URL(self.upstream + target, encoded=True),
            headers=kept,
            data=io.BytesIO(body) if body else None,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            allow_redirects=False,
        ) as answer:
            return Answer(answer.status, answer.headers, await answer.read())


def reset(request: web.BaseRequest) -> web.Response:
    """End the connection so that the client sees a reset; what is returned reaches nobody."""
    if request.transport is not None:
        peer = request.transport.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return web.Response()


async def gone(request: web.BaseRequest) -> None:
    """Wait until the client has given up."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LONGEST_SECONDS):
            while request.transport is not None and not request.transport.is_closing():
                await asyncio.sleep(0.02)


async def send(request: web.BaseRequest, answer: Answer, fault: Fault | None) -> web.StreamResponse:
    """Answer; half of it where it is to be cut, in ten pieces where it is to be slow."""
    headers = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
    response = web.StreamResponse(status=answer.status, headers=headers)
    body = b"" if request.method == "HEAD" else answer.body
    if request.method == "HEAD":
        response.content_length = int(answer.headers.get("Content-Length", 0))
    elif answer.status not in (204, 304):
        response.content_length = len(body)
    pieces, pause = [body], 0.0
    if fault is not None and fault.how == "slow":
        cuts = [len(body) * tenth // 10 for tenth in range(11)]
        pieces, pause = [body[a:b] for a, b in itertools.pairwise(cuts)], min(fault.seconds, 30) / 10
    if fault is not None and fault.how == "cut":
        pieces = [body[: len(body) // 2]]
    with suppress(ConnectionError):  # the client may have gone
        if not body:
            await asyncio.sleep(pause * len(pieces))
        await response.prepare(request)
        for piece in filter(None, pieces):
            await asyncio.sleep(pause)
            await response.write(piece)
        if fault is not None and fault.how == "cut" and request.transport is not None:
            request.transport.close()  # after what has been written
            return response
        await response.write_eof()
    return response
