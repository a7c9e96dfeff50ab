"""What a machine must have before trials are sent there: the same ltbench, the same images. Knows nothing of Ray."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ltbench.data.sources.kinds import source_of
from ltbench.errors import UserError
from ltbench.execution.placement import Machine
from ltbench.plugins import use_sources
from ltbench.spec import Cell, TrialSpec
from ltbench.system.remote import Remote
from ltbench.training.assemble import manifest_here
from ltbench.training.site import Site

Versions = tuple[str, str]
"""What ltbench a machine has: its version, and 12 hex digits that stand for its files and those of its methods."""


def version_probe() -> Callable[[], Versions]:
    """A function that finds out about the machine it is called on. It is made in here, and imports in there, so that
    it travels as code: what the other machine has may not even know this module."""

    def versions() -> Versions:
        import hashlib
        from pathlib import Path

        try:
            import ltbench
        except ImportError:
            return "none", ""
        package = Path(ltbench.__file__).parent
        methods = package / "methods" if (package / "methods").is_dir() else package.parent / "methods"
        files = {f.relative_to(package).as_posix(): f for f in package.rglob("*.py") if "suites" not in f.parts}
        files |= {f"methods/{f.name}": f for f in methods.glob("*.py")}
        whole = hashlib.sha256()
        for name in sorted(files):
            whole.update(f"{name}\0".encode() + files[name].read_bytes() + b"\0")
        return ltbench.__version__, whole.hexdigest()[:12]

    return versions


def gpu_probe() -> Callable[[], list[int]]:
    """A function that tells the bytes of memory of each GPU of the machine it is called on; travels as code, too."""

    def memories() -> list[int]:
        import os

        import torch

        if os.environ.get("CUDA_VISIBLE_DEVICES") == "":  # Ray's way of saying that this task was given none
            del os.environ["CUDA_VISIBLE_DEVICES"]
        return [torch.cuda.get_device_properties(i).total_memory for i in range(torch.cuda.device_count())]

    return memories


def this_machine(ask_memory: bool) -> Machine:
    """What Ray would find here, without starting it."""
    import torch

    gpus = torch.cuda.device_count()
    memory = min(gpu_probe()()) if ask_memory and gpus else None
    return Machine("here", "this machine", cpus_here(), gpus, memory)


def cpus_here(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """CPUs of this machine, or of this container."""
    found = os.cpu_count() or 1
    with suppress(OSError, ValueError):
        quota, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()  # "max 100000": no limit
        found = min(found, max(1, int(quota) // int(period)))
    return found


def refuse_other_versions(mine: Versions, found: Mapping[str, Versions]) -> None:
    """Compare this machine's ltbench with that of every other, by name of the machine.

    Raises:
        UserError: one has another, or none.
    """
    other = {name: theirs for name, theirs in found.items() if theirs != mine}
    if other:
        each = "; ".join(f"{name} has {_shown(theirs)}" for name, theirs in sorted(other.items()))
        raise UserError(f"ltbench is not the same everywhere: this machine has {_shown(mine)}, {each}. Records of two "
                        f"versions must not be mixed: install the same one there, and restart Ray there")  # fmt: skip


def _shown(versions: Versions) -> str:
    version, code = versions
    return f"ltbench {version} (files {code})" if code else "no ltbench"


def on_this_node(site: Site, at_home: bool, environment: Mapping[str, str] = os.environ) -> Site:
    """The site as it is on the machine this is called on: the data root is the driver's, or, on another machine that
    names its own in LTBENCH_DATA, that one."""
    own = environment.get("LTBENCH_DATA")
    return site if at_home or not own else replace(site, data=Path(own).expanduser().absolute())


def cells_of(trials: Sequence[TrialSpec]) -> list[Cell]:
    """The different cells of a plan."""
    return list({spec.cell.manifest: spec.cell for spec in trials}.values())


def check_data(cells: Sequence[Cell], site: Site) -> str | None:
    """Have the images of all cells packed on this machine, and the weights of image towers there, fetching what can be
    fetched; what is wrong with them."""
    try:
        use_sources(site.plugins)
        for cell in cells:
            source = source_of(cell, site.data, site.paths, site.decoded_cache)
            if manifest_here(cell, source) != cell.manifest:
                return f"data set {cell.dataset!r} has other images there ({source.path or site.data})"
            source.prepare()
    except (UserError, OSError) as error:
        return f"data set {cell.dataset!r}: {error}"
    if not site.towers:
        return None
    from ltbench.planning.towers import missing

    return next((problem for tower in site.towers.values() if (problem := missing(tower, site.paths))), None)


def refuse_nodes_without_data(problems: Mapping[str, str | None]) -> None:
    """Raises UserError naming every machine that lacks the images."""
    each = "; ".join(f"{name}: {problem}" for name, problem in sorted(problems.items()) if problem)
    if each:
        raise UserError(
            f"not every machine has the data: {each}. Put the images there under the same path, or name the folder "
            f"that has them in LTBENCH_DATA before Ray is started there, or use storage that all machines share"
        )


def check_late(mine: Versions, cells: Sequence[Cell], site: Site) -> str | None:
    """For a machine that joined after the others were checked: what keeps a trial from running there."""
    try:
        refuse_other_versions(mine, {"a node that joined later": version_probe()()})
    except UserError as error:
        return str(error)
    problem = check_data(cells, site)
    return f"a node that joined later lacks the data: {problem}" if problem else None


def unseen_warning(checkpoints: Path | Remote, hosts: Sequence[str]) -> str:
    """For the user: trials on these machines have nowhere to leave their checkpoints."""
    return (
        f"{checkpoints} is not visible from {', '.join(sorted(hosts))}: trials there take no checkpoints and start "
        f"over when their process or machine is lost; --results on storage that all machines share mends it, or "
        f"--checkpoints at a URI that all of them reach"
    )
