"""Looking at runs: `ltbench watch` from another terminal, or another machine that sees the folder; `ltbench ui` in
MLflow's pages, opened where a suite's trials are."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from ltbench.cli.options import DEFAULT_RESULTS, LastSuite, Results, TrackingUri
from ltbench.cli.output import tell
from ltbench.errors import UserError, harmless
from ltbench.system.extras import need

if TYPE_CHECKING:
    from ltbench.execution.display.file import Seen

_HOST = "127.0.0.1"
_PATIENCE = 120.0
"""Seconds that MLflow's server is given to answer."""
QUIET = 60.0
"""Seconds without a word after which a run may have come to an end."""


def watch(
    suite: LastSuite = None,
    results: Results = DEFAULT_RESULTS,
    every: Annotated[float, typer.Option(help="seconds between two looks", min=0.5)] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="look once, and end")] = False,
) -> None:
    """Show how far a run has come, from another terminal. It reads the suite's folder and changes nothing."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from ltbench.execution.display.file import read_progress
    from ltbench.results.folders import folders_of
    from ltbench.system.lock import is_held
    from ltbench.workflow.find_results import suite_name

    there = sorted(results.glob("*/plan.json"), key=lambda file: file.stat().st_mtime, reverse=True)
    known = ", ".join(file.parent.name for file in there) or "none yet"
    if suite is None and not there:
        raise UserError(f"watch: nothing has been run yet under {results}")
    name = suite_name(suite) if suite is not None else there[0].parent.name
    if suite is None and len(there) > 1:
        tell(f"{len(there)} suites are there ({known}); showing the last used")
    folders, console = folders_of(results, name), Console()
    if not folders.suite_folder.is_dir():
        raise UserError(f"{folders.suite_folder}: nothing runs there. Under {results}: {known}")

    def look() -> tuple[Text, bool]:
        seen, records = read_progress(folders.suite_folder), len(folders.journal.keys())
        between = seen is None and is_held(folders.suite_folder)  # two parts of a run: its search, or its looks
        lines = watch_lines(name, seen, records, time.time(), console.width, console.height)
        if between:
            lines = [f"{name}: {records} records; the next trials are made ready"]
        return Text(harmless("\n".join(lines)), no_wrap=True, overflow="ellipsis"), between or seen is not None

    shown, runs = look()
    if once or not console.is_terminal or not runs:
        console.print(shown)
        return
    try:
        with Live(shown, console=console, auto_refresh=False) as live:
            while runs:
                time.sleep(every)
                shown, runs = look()
                live.update(shown, refresh=True)
    except KeyboardInterrupt:
        return


def watch_lines(suite: str, seen: Seen | None, records: int, now: float, width: int, height: int) -> list[str]:
    """What is shown: a line per running trial, totals below, as `ltbench run` has them.

    Args:
        records: how many there are. now: seconds since 1970. width, height: of the screen, in characters.
    """
    from ltbench.execution.display.lines import readable_seconds, trial_lines
    from ltbench.execution.display.time_left import later, left_text

    if seen is None:
        return [f"{suite}: {records} records; no run is going on"]
    failed = f", {seen.failed} failed" if seen.failed else ""
    stage = f"{seen.stage}: " * bool(seen.stage)
    lines = trial_lines(seen.running, now, width, max(3, height - 5))
    totals, quiet = (
        f"{suite}: {stage}{seen.done} of {seen.total} done, {len(seen.running)} running{failed}",
        now - seen.written,
    )
    if (seen.running or seen.done) and seen.done < seen.total and quiet <= QUIET:
        totals += f", {left_text(None if seen.left is None else later(seen.left, quiet))}"
    lines.append(totals)
    if seen.phase:
        lines.append(f"  {seen.phase}")
    if quiet > QUIET:
        lines.append(f"  no word from the run for {readable_seconds(quiet)}: it may have been killed")
    return lines


def ui(
    suite: LastSuite = None,
    results: Results = DEFAULT_RESULTS,
    tracking_uri: TrackingUri = None,
    port: Annotated[int, typer.Option(help="on 127.0.0.1", min=1, max=65535)] = 5000,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="open the page; without one, only print its address")
    ] = True,
) -> None:
    """Open MLflow's page of a suite's trials, by method and cell. On this machine alone, without a password."""
    need("ltbench ui", "mlflow")
    from ltbench.system.uris import shown_uri, store_uri
    from ltbench.tracking.mlflow_page import address_of
    from ltbench.workflow.sync import shown_suite

    shown = shown_suite(suite, results, tracking_uri, tell)
    uri = store_uri(tracking_uri, results)
    own = uri.startswith(("http://", "https://"))
    if not own:
        _refuse_taken(port)
    server_address = shown_uri(uri) if own else f"http://{_HOST}:{port}"
    address = server_address if shown is None else address_of(server_address, shown.experiment)
    typer.echo(f"{'MLflow' if shown is None else shown.suite}: {address}")
    if shown is None:
        typer.echo("Choose `Model training` at its top left: on `GenAI`, where MLflow 3 begins, a suite looks empty.")
    elif shown.others:
        tell(f"also there: {', '.join(shown.others)}")
    if own:
        return
    typer.echo("It asks for no password: everybody who is logged in on this machine can read the store through it, and "
               "change and delete what is in it, while it runs.")  # fmt: skip
    server = _serve(uri, port)
    try:
        if _answers(server, port):
            tell("MLflow's server is ready. Ctrl-C stops it.")
            if browser and _has_screen():
                import webbrowser

                webbrowser.open(address)
        code = server.wait()
    except KeyboardInterrupt:  # the server has it, too
        server.wait()
        code = 0
    raise typer.Exit(1 if code > 0 else 0)


def _serve(uri: str, port: int) -> subprocess.Popen[bytes]:
    """MLflow's server on a store. It tells nobody what it is used for, runs none of its own jobs, and prints warnings
    alone, unless the user's environment says otherwise."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", _HOST, "--port", str(port), "--workers", "1",
               "--uvicorn-opts", "--log-level warning"]  # fmt: skip
    # By the environment: arguments, with a password in them, would be seen by everyone on the machine.
    usual = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
             "MLFLOW_LOGGING_LEVEL": "WARNING", "PYTHONWARNINGS": "ignore"}  # fmt: skip
    environment = {**usual, **os.environ, "MLFLOW_BACKEND_STORE_URI": uri}
    server = subprocess.Popen(command, env=environment)
    signal.signal(signal.SIGTERM, lambda *_: server.terminate())  # or the server would go on without us
    return server


def _answers(server: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the server answers; False where it ends before."""
    import urllib.request

    until = time.monotonic() + _PATIENCE
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while server.poll() is None and time.monotonic() < until:
        try:
            with opener.open(f"http://{_HOST}:{port}/health", timeout=5):
                return True
        except OSError:
            time.sleep(0.2)
    return False


def _refuse_taken(port: int) -> None:
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((_HOST, port))
        except OSError as error:
            raise UserError(f"--port {port}: cannot be used ({error.strerror}); choose another one") from error


def _has_screen() -> bool:
    """Whether a page can be opened here: not over SSH without a display, where a browser of text would come up."""
    return sys.platform in ("darwin", "win32") or any(os.environ.get(n) for n in ("DISPLAY", "WAYLAND_DISPLAY"))
