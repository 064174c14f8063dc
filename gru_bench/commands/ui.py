"""``gru-bench ui``: the MLflow UI on the store that training writes to."""

import argparse
import ipaddress
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import psutil

from gru_bench.errors import UserError
from gru_bench.store.connect import absolute_uri, artifact_root, connect, to_serve, without_password
from gru_bench.store.signals import raise_on_signals
from gru_bench.store.ui_view import ui_url_path

READY_WITHIN_S = 60.0
STOP_WITHIN_S = 10.0
MOST_EXPERIMENTS = 5
GUARD = """
import os, signal, sys, time
sys.stdin.buffer.read()
for number in (signal.SIGTERM, signal.SIGKILL):
    try:
        os.killpg(int(sys.argv[1]), number)
    except OSError:
        break
    time.sleep(3)
"""


def ui(arguments: list[str]) -> int:
    """Start the UI, print what to open, and serve until Ctrl-C.

    Args:
        arguments: What follows ``gru-bench ui``.

    Returns:
        0 after Ctrl-C, 1 if the server ended by itself, 2 for bad input.
    """
    try:
        options, uri = parse(arguments)
        if uri.startswith(("http://", "https://")):
            connect(uri, create=False)
            print(f"{without_password(uri)} is a server with a UI of its own: open it in a browser")
            return 0
        uri = to_serve(uri)
        paths = experiment_paths(uri)
        check_free(options.host, options.port)
    except UserError as error:
        print(f"gru-bench ui: {error}", file=sys.stderr)
        return 2
    raise_on_signals()
    if not is_loopback(options.host):
        print(
            f"gru-bench ui: --host {options.host}: anyone on the network can read and delete the runs (no login)",
            file=sys.stderr,
        )
    return serve(uri, options.host, options.port, paths, options.allowed_hosts)


def parse(arguments: list[str]) -> tuple[argparse.Namespace, str]:
    """The options, and the store's absolute URI.

    Raises:
        UserError: A key that is not ``tracking.uri``, or not a URI that can be a store.
    """
    parser = argparse.ArgumentParser(prog="gru-bench ui", description="Open the MLflow UI on the runs. Ctrl-C ends it.")
    parser.add_argument(
        "settings", nargs="*", metavar="tracking.uri=URI", help="the store; default: mlflow.db in the working folder"
    )
    parser.add_argument("--port", type=port, default=5000, help="default: 5000")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; default: 127.0.0.1, this machine only"
    )
    parser.add_argument(
        "--allowed-hosts",
        default="",
        metavar="NAME,NAME",
        help="further names under which browsers may ask for it; default: this machine's names and addresses",
    )
    options = parser.parse_args(arguments)
    uri: str | None = None
    for setting in options.settings:
        key, separator, value = setting.partition("=")
        if key != "tracking.uri" or not separator:
            raise UserError(f"{setting}: no such key; valid: tracking.uri=URI, --port, --host, --allowed-hosts")
        uri = None if value in ("", "null") else value
    return options, absolute_uri(uri)


def port(text: str) -> int:
    """A TCP port."""
    number = int(text)
    if not 1 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{number}: must lie in 1..65535")
    return number


def experiment_paths(uri: str) -> dict[str, str]:
    """The path after the server's address for each experiment, the latest first.

    Raises:
        UserError: The store cannot be read, or is a file that does not exist.
    """
    client = connect(uri, create=False)
    found = client.search_experiments(order_by=["last_update_time DESC"], max_results=MOST_EXPERIMENTS + 1)
    named = [experiment for experiment in found if experiment.name != "Default"]
    return {experiment.name: ui_url_path(experiment.experiment_id) for experiment in named[:MOST_EXPERIMENTS]}


def check_free(host: str, number: int) -> None:
    """Fail before MLflow does, whose own message is a traceback.

    Raises:
        UserError: Something listens there already, or the address is not this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # as the server itself will: a port of connections that are just closing counts as free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise UserError(
            f"--host {host} --port {number}: cannot listen there ({error.strerror or error}); "
            f"try another: gru-bench ui --port {number % 65535 + 1}"
        ) from error


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return all(ipaddress.ip_address(entry[4][0]).is_loopback for entry in socket.getaddrinfo(host, None))
    except (OSError, ValueError):
        return False


def names_of(host: str, further: str) -> list[str]:
    """The names under which the server may be asked for; MLflow refuses all others, against DNS rebinding.

    Args:
        host: What it listens on.
        further: Names of the user's, with commas between.
    """
    found = ["localhost", "127.0.0.1", "[::1]"]
    if not is_loopback(host):
        addresses = [one.address for cards in psutil.net_if_addrs().values() for one in cards]
        found += [host, socket.gethostname(), socket.getfqdn(), *filter(is_address, addresses)]
    found += [name.strip() for name in further.split(",")]
    return list(
        dict.fromkeys(f"[{name}]" if name.count(":") > 1 and name[0] != "[" else name for name in found if name)
    )


def is_address(text: str) -> bool:
    """Whether a text is an address of the internet protocol that a browser takes."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def serve(uri: str, host: str, number: int, paths: dict[str, str], further: str = "") -> int:
    """Run MLflow's server until Ctrl-C or its own end."""
    root = artifact_root(uri)
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
    command += ["--host", host, "--port", str(number), "--uvicorn-opts", "--log-level warning"]
    if root is not None:
        command += ["--no-serve-artifacts", "--default-artifact-root", root.as_uri()]
    names = [with_port for name in names_of(host, further) for with_port in (name, f"{name}:{number}")]
    command += ["--allowed-hosts", ",".join(names)]
    command += ["--cors-allowed-origins", ",".join(f"http://{name}" for name in names)]
    environment = {
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": uri,  # not as an argument: every user of the machine can list those
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "PYTHONWARNINGS": "ignore",  # those of MLflow's own dependencies, before the address is printed
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # its workers are for evaluating language models
    }
    # a session of its own: Ctrl-C reaches this process alone, which then ends the server with all its workers
    server = subprocess.Popen(command, env=environment, start_new_session=True)
    guard = guarded(server.pid)
    try:
        if not wait_until_ready(server, host, number):
            print(f"gru-bench ui: the server did not start within {READY_WITHIN_S:.0f} s", file=sys.stderr)
            return 1
        address = browser_address(host, number)
        print()
        for name, path in paths.items():  # first, since the plain address opens a page that has nothing to do with runs
            print(f"{name}: {address}{path}")
        print(f"MLflow UI: {address}")
        print("Ctrl-C ends it.", flush=True)
        return 1 if server.wait() else 0
    except KeyboardInterrupt:
        return 0
    finally:
        stop(server)
        guard.communicate()  # closes the pipe and waits


def guarded(group: int) -> "subprocess.Popen[bytes]":
    """A process that ends a group of processes when this one is gone, however it ended: their pipe closes then."""
    command = [sys.executable, "-I", "-S", "-c", GUARD, str(group)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


def wait_until_ready(server: subprocess.Popen[bytes], host: str, number: int) -> bool:
    """Ask for the server's health until it answers, it ends, or the time is up."""
    url = f"{browser_address(host, number)}/health"
    # the machine's proxy, if it has one, knows nothing of this server
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with opener.open(url, timeout=5):
                return True
        except OSError:
            time.sleep(0.2)
    return False


def browser_address(host: str, number: int) -> str:
    """The server's address as a browser on this machine takes it."""
    local = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{local}:{number}"


def stop(server: subprocess.Popen[bytes]) -> None:
    """End the server and its workers; by force if they do not go."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if server.poll() is not None:
            return
        try:
            os.killpg(server.pid, number)
            server.wait(timeout=STOP_WITHIN_S)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
