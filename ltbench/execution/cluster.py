"""The machines there are: joining Ray or starting it, and whether its nodes can be used. With `tune` the only file
that imports ray."""

from __future__ import annotations

import gc
import logging
import os
import secrets
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

# Read by ray when it is imported: no output but ours, no usage statistics, no log files per trial. Tune's own state is
# never read again, because the journal is what counts, so it is hardly ever saved.
os.environ.update(
    RAY_AIR_NEW_OUTPUT="0",
    RAY_USAGE_STATS_ENABLED="0",
    TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
    TUNE_GLOBAL_CHECKPOINT_S="3600",
    TUNE_DISABLE_SIGINT_HANDLER="1",  # signals are ours
)


_TOO_LATE = "ray" in sys.modules and "RAY_AUTH_MODE" not in os.environ
"""Ray was imported first (by a user's method, say), without a token, and reads such settings no more."""


def _choose_authentication() -> None:
    """Ray reads this, too, when it is imported. A Ray of our own gets a token of its own rather than one written to
    the home folder; a cluster's (RAY_ADDRESS) is the one its nodes use, unless the user says otherwise."""
    if "RAY_ADDRESS" not in os.environ:
        # A Ray of our own is for this machine: without this its sockets would listen on every interface.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    if _TOO_LATE or any(name in os.environ for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        return
    if "RAY_ADDRESS" not in os.environ:
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    elif (Path.home() / ".ray" / "auth_token").exists():
        os.environ["RAY_AUTH_MODE"] = "token"


_choose_authentication()

import ray  # noqa: E402
from ray.job_config import JobConfig  # noqa: E402
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: E402

from ltbench.errors import UserError, last_line  # noqa: E402
from ltbench.execution import nodes  # noqa: E402
from ltbench.execution.placement import Machine, Placed  # noqa: E402
from ltbench.execution.resources import Listener, Resources  # noqa: E402
from ltbench.spec import Cell, TrialSpec  # noqa: E402
from ltbench.system.remote import Remote  # noqa: E402
from ltbench.training.site import Site  # noqa: E402

ANSWER_SECONDS = 10.0
"""How long the head of a cluster has to accept a connection."""
LONGEST_SESSION = 107 - len("/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")
"""Bytes of a session folder's path: those of a socket's are limited."""
JOIN_SECONDS = 10.0
"""How long a node that has just joined may be unknown to the driver's own Ray."""


@dataclass(frozen=True)
class Home:
    """The driver's node, its ltbench, and the nodes that were checked."""

    node: str
    versions: nodes.Versions
    checked: frozenset[str]


class _InstalledOnly(JobConfig):  # type: ignore[misc]
    """Workers import what is installed, and no file of the folder that the command was started in: a `random.py` or
    `torch.py` of the user's, which Ray would put before everything else. Methods travel as their text."""

    def _serialize(self) -> Any:
        if Path.cwd() != Path(__file__).parents[2]:  # else a checkout that is not installed would not be found
            self._py_driver_sys_path: list[str] = []
        return super()._serialize()


def refuse_another_ray() -> None:
    """A script may use Ray itself; it would lose what it has there if ltbench joined another, and left it.

    Raises:
        UserError: this process is in a Ray.
    """
    if ray.is_initialized():
        raise UserError("this process has joined a Ray already (ray.init), and can be in one alone: call "
                        "ray.shutdown() before, or run without Ray: inline=True (--inline, or "
                        "resources.executor=inline)")  # fmt: skip


def connect(session: Path | None = None) -> None:
    """Join the cluster that RAY_ADDRESS names, or start Ray on this machine.

    Args:
        session: where a Ray of our own keeps its sockets and logs; Ray makes that folder open to everybody, so the one
            around it must not be. None: where Ray does by default.

    Raises:
        UserError: the cluster cannot be joined, or Ray cannot be started.
    """
    address = os.environ.get("RAY_ADDRESS")
    if _TOO_LATE and not address:
        raise UserError("Ray was imported before ltbench could give it a token, and without one it obeys everybody "
                        "on this machine: import it later (a method has no need of it), or export RAY_AUTH_MODE=token "
                        "and a secret RAY_AUTH_TOKEN")  # fmt: skip
    local = {} if address else {"include_dashboard": False, "_temp_dir": session and str(session)}
    try:
        _answers(address or "")
        ray.init(address=address or "local", log_to_driver=False, logging_level="ERROR", job_config=_InstalledOnly(),
                 **local)  # fmt: skip
    except Exception as error:  # Ray raises a bare one, too, where its processes do not come up
        raise UserError(_not_connected(address, error)) from error
    for name in ("ray", "ray.tune", "ray.train"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _not_connected(address: str | None, error: Exception) -> str:
    """What is wrong, and what the user can do."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
    if address is None:
        return (f"Ray could not be started: {reason}. Run without it, one trial after the other: --inline (or set "
                f"resources.executor=inline)")  # fmt: skip
    return (f"the Ray cluster at {address} could not be joined: {reason}. The address is that of --address or of the "
            f"environment's RAY_ADDRESS: start the cluster, correct the address, `unset RAY_ADDRESS` to run on this "
            f"machine, or run without Ray: --inline")  # fmt: skip


def _answers(address: str) -> None:
    """Ray itself tries for many minutes. Raises OSError if nobody listens at HOST:PORT."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS).close()


def refuse_dead_ray() -> None:
    """A Ray of our own whose processes were killed ends this one some seconds later, without a word.

    Raises:
        UserError: one of them is gone.
    """
    node = getattr(ray._private.worker, "_global_node", None)  # there is no public way to ask
    gone = [kind for kind, _ in node.dead_processes() if kind in ("raylet", "gcs_server")] if node is not None else []
    if gone:
        raise UserError(f"Ray's {gone[0]} on this machine has ended (killed, or out of memory). What was finished is "
                        f"recorded; the same command continues, and with --inline without Ray")  # fmt: skip


def disconnect() -> None:
    """Leave Ray. Another thread (the one that talks to MLflow) must not collect garbage meanwhile: freeing a leftover
    object reference of Tune's in the middle of the shutdown ends the whole process."""
    gc.collect()
    gc.disable()
    try:
        ray.shutdown()
    finally:
        gc.enable()


def machines(resources: Resources, trials: Sequence[TrialSpec]) -> list[Machine]:
    """The nodes there are; with the memory of their GPUs if a trial asks for some."""
    alive = [n for n in ray.nodes() if n["Alive"]]
    names = _names(alive)
    found = [Machine(n["NodeID"], names[n["NodeID"]], n["Resources"].get("CPU", 0.0), n["Resources"].get("GPU", 0.0),
                     memory=n["Resources"].get("memory")) for n in alive]  # fmt: skip
    if all(resources.of(spec).gpu_memory_gb is None for spec in trials):
        return found
    with_gpus = {m.id: m.name for m in found if m.gpus >= 1}
    memories = _on_nodes(with_gpus, nodes.gpu_probe(), once=True)
    return [replace(m, gpu_memory=min(memories[m.id])) if memories.get(m.id) else m for m in found]


def machines_there(resources: Resources, trials: Sequence[TrialSpec]) -> list[Machine]:
    """The nodes of the cluster that RAY_ADDRESS names, for who only wants to know.

    Raises:
        UserError: it cannot be joined.
    """
    connect()
    try:
        return machines(resources, trials)
    finally:
        disconnect()


def node_id() -> str:
    """Of the node this process is on."""
    return str(ray.get_runtime_context().get_node_id())


def check_nodes(
    trials: Sequence[TrialSpec], site: Site, placed: Collection[Placed], there: Sequence[Machine], listener: Listener
) -> Home:
    """Before anything trains: every node that can hold a trial has this ltbench and the data. A node that does not see
    the results folder is told of, and serves.

    Args:
        placed: what trials are given. there: the nodes.

    Raises:
        UserError: a node has another ltbench, or lacks the data.
    """
    probe, home = nodes.version_probe(), node_id()
    mine = probe()
    if "RAY_ADDRESS" not in os.environ:  # Ray was started here, by this process
        return Home(home, mine, frozenset({home}))
    names = {m.id: m.name for m in there if any(each.fits(m) for each in placed)}
    found = _on_nodes(names, probe)
    nodes.refuse_other_versions(mine, {names[i]: versions for i, versions in found.items()})
    with ExitStack() as stack:
        mark: Path | Remote | None = site.checkpoints if isinstance(site.checkpoints, Remote) else None
        if isinstance(site.checkpoints, Path):
            with suppress(OSError):
                mark = Path(
                    stack.enter_context(tempfile.NamedTemporaryFile(dir=site.checkpoints, prefix=".seen-")).name
                )
        cells = nodes.cells_of(trials)
        told = _on_nodes(names, _look_around, cells, site, home, mark)
    nodes.refuse_nodes_without_data({names[i]: problem for i, (problem, _) in told.items()})
    unseen = [names[i] for i, (_, seen) in told.items() if not seen]
    if unseen and site.checkpoints is not None:
        listener.noted(nodes.unseen_warning(site.checkpoints, unseen))
    return Home(home, mine, frozenset(told))


def _names(machines: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Node's id -> how it is called in messages: with its id where two of them run on one host."""
    called = {n["NodeID"]: f"node {n['NodeManagerHostname']} ({n['NodeManagerAddress']})" for n in machines}
    twins = {name for name in called.values() if list(called.values()).count(name) > 1}
    return {i: f"{name[:-1]}, {i[:8]})" if name in twins else name for i, name in called.items()}


def _look_around(cells: Sequence[Cell], site: Site, home: str, mark: Path | Remote | None) -> tuple[str | None, bool]:
    """On a node: what is wrong with its data, and whether it sees the driver's file, or can use the URI."""
    site = nodes.on_this_node(site, node_id() == home)
    seen = mark.problem() is None if isinstance(mark, Remote) else mark is None or mark.exists()
    return nodes.check_data(cells, site), seen


def _on_nodes(
    names: Mapping[str, str], function: Callable[..., Any], *arguments: Any, once: bool = False
) -> dict[str, Any]:
    """Call a function on every node, at the same time: what it returned, by the node's id; without nodes that were
    lost meanwhile.

    Args:
        once: the process ends afterwards, and with it what it holds of a GPU.

    Raises:
        UserError: it failed on a node.
    """
    task = ray.remote(max_calls=1)(function) if once else ray.remote(function)

    def ask(node: str) -> Any:
        here = NodeAffinitySchedulingStrategy(node, soft=False)
        return task.options(num_cpus=0, scheduling_strategy=here).remote(*arguments)

    waiting, answers = {node: ask(node) for node in names}, {}
    deadline = time.monotonic() + JOIN_SECONDS
    while waiting:
        node = next(iter(waiting))
        try:
            answers[node] = ray.get(waiting.pop(node))
        except ray.exceptions.NodeDiedError:
            continue
        except ray.exceptions.TaskUnschedulableError:
            # Lost, or so new that this machine's Ray has not heard of it.
            if time.monotonic() < deadline and any(n["NodeID"] == node and n["Alive"] for n in ray.nodes()):
                time.sleep(0.2)
                waiting[node] = ask(node)
        except ray.exceptions.RayError as error:
            raise UserError(f"{names[node]}: cannot be used ({last_line(str(error))}); mend or remove it") from error
    return answers
