"""Several hosts on one machine: network namespaces with an address each, on a bridge of their own.

    with hosts("scheduler", "worker") as net:
        scheduler = net["scheduler"].run(["dask", "scheduler", "--host", net["scheduler"].address])
        net["worker"].cut()  # as if its cable were pulled; the processes go on
        net["worker"].restore()

The machine's own interfaces, routes and names are not touched: a namespace belongs to a process that holds it, the
bridge is in one too, and everything is gone when the holders are, which end with the block or with this process. The
disk is shared. Needs Linux, iproute2 and util-linux; without root, user namespaces.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from subprocess import PIPE, Popen
from typing import Any

import pytest

PROGRAMS = ("ip", "unshare", "nsenter", "setpriv")
HOLD = ("sh", "-c", "echo held; exec cat")  # ends with its stdin, which is a pipe of this process


@dataclass(frozen=True)
class Namespace:
    """A network without anything, but what is put into it; held by a process."""

    enter: tuple[str, ...]

    def do(self, *command: str) -> None:
        """Run a command that configures it."""
        done = subprocess.run([*self.enter, *command], capture_output=True, text=True, check=False, timeout=30)
        if done.returncode:
            msg = f"{' '.join(command)}: {done.stderr.strip()}"
            raise OSError(msg)


@dataclass(frozen=True)
class Host:
    """A namespace with an address that the other hosts reach."""

    name: str
    address: str
    inside: Namespace
    switch: Namespace
    port: str
    processes: list[Popen[Any]] = field(default_factory=list)

    def run(self, command: Sequence[str], env: Mapping[str, str] | None = None, **options: Any) -> Popen[Any]:
        """Start a command on this host, with more variables in its environment; it ends with the block."""
        process = Popen(
            [*self.inside.enter, "setpriv", "--pdeathsig", "KILL", *command],
            env=os.environ | dict(env or {}),
            start_new_session=True,
            **options,
        )
        self.processes.append(process)
        return process

    @contextmanager
    def cut_off(self) -> Iterator[None]:
        """Let nothing come from this host, nor to it; when the block ends it is connected again."""
        self.switch.do("ip", "link", "set", self.port, "down")
        try:
            yield
        finally:
            self.switch.do("ip", "link", "set", self.port, "up")

    def end(self) -> None:
        """Kill what was started here, with what that has started."""
        for process in self.processes:
            with process:  # closes its pipes, and waits
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def hosts(*names: str) -> Iterator[dict[str, Host]]:
    """Make a host for each name; skips the test where that can't be done here."""
    if missing := [program for program in PROGRAMS if shutil.which(program) is None]:
        pytest.skip(f"hosts of their own need {', '.join(missing)}")
    with ExitStack() as ends:
        switch = ends.enter_context(network())
        try:
            switch.do("ip", "link", "add", "bridge", "type", "bridge")
            switch.do("ip", "link", "set", "bridge", "up")
        except OSError as error:
            pytest.skip(f"no bridge can be made here: {error}")
        made = {}
        for number, name in enumerate(names, 1):
            inside = ends.enter_context(network(beside=switch))
            host = made[name] = Host(name, f"10.77.0.{number}", inside, switch, f"port{number}")
            holder = next(word for word in inside.enter if word.startswith("--target=")).removeprefix("--target=")
            switch.do("ip", "link", "add", host.port, "type", "veth", "peer", "name", "eth0", "netns", holder)
            switch.do("ip", "link", "set", host.port, "master", "bridge", "up")
            inside.do("ip", "address", "add", f"{host.address}/24", "dev", "eth0")
            inside.do("ip", "link", "set", "eth0", "up")
            inside.do("ip", "link", "set", "lo", "up")
            ends.callback(host.end)
        yield made


@contextmanager
def network(beside: Namespace | None = None) -> Iterator[Namespace]:
    """Make a network namespace; without root in a user namespace, the same for all that are beside each other."""
    users = () if os.geteuid() == 0 else ("--user",)
    new = ("unshare", "--net") if beside or not users else ("unshare", "--net", "--user", "--map-root-user")
    command = (*(beside.enter if beside and users else ()), *new, *HOLD)
    with Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stderr is not None
            if holder.stdout.readline() != "held\n":
                pytest.skip(f"no network namespace can be made here: {holder.stderr.read().strip()}")
            kept = ("--preserve-credentials",) if users else ()
            yield Namespace(("nsenter", f"--target={holder.pid}", *users, *kept, "--net"))
        finally:
            holder.kill()
