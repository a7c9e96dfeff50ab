"""Pre-trained weights for torchvision's and timm's networks: published ones by their tag, or a file of the user's.

The plan describes them as plain data, which is part of the trial's recipe: the network, the tag and the published file,
whose name has the first digits of its hash; or what stands for the content of the user's file.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ltbench.errors import UserError, did_you_mean
from ltbench.models.towers import CONTENT, TIMM, content_of

_HUB_FILE = "model.safetensors"
"""What timm's weights are called in their repositories."""
_NO_TAGS = ("googlenet", "inception_v3")
"""Their published weights want images on another scale than all the others."""


def describe_weights(network: str, pretrained: str, place: str) -> dict[str, str]:
    """What weights are, from names alone: architecture, pretrained (the tag, or what stands for the file's content) and
    file (the published one's name; empty for the user's own). Fetches nothing.

    Raises:
        UserError: neither a file nor a tag of this network.
    """
    tags = tags_of(network)
    if pretrained in tags:
        published = tags[pretrained] if network.startswith(TIMM) else tags[pretrained].rpartition("/")[2]
        return {"architecture": network, "pretrained": pretrained, "file": published}
    file = Path(pretrained).expanduser()
    if file.is_file():
        return {"architecture": network, "pretrained": content_of(file), "file": ""}
    known = (
        f"a tag of {network} ({', '.join(tags)}). {did_you_mean(pretrained, tags)}"
        if tags
        else "there are no tags of it"
    )
    raise UserError(f"{place}: {pretrained!r} is neither a file nor {known}")


def tags_of(network: str) -> dict[str, str]:
    """The published weights of a network: tag -> address, of timm's the name of the repository on the Hugging Face
    Hub."""
    from torchvision.models import get_model_weights

    if network.startswith(TIMM):
        import timm

        name = network.removeprefix(TIMM)
        found = {full.partition(".")[2]: timm.get_pretrained_cfg(full) for full in timm.list_pretrained(f"{name}.*")}
        return {tag: config.hf_hub_id for tag, config in found.items() if config is not None and config.hf_hub_id}
    if network in _NO_TAGS:
        return {}
    try:
        return {str(entry.name): str(entry.url) for entry in get_model_weights(network)}
    except ValueError:  # not a network of torchvision's own
        return {}


def unavailable(weights: Mapping[str, str], given: str | None) -> str | None:
    """Why weights are not to be had on this machine, fetching them if that can be done; None: they are.

    Args:
        given: where the user's file lies, if it is one.
    """
    try:
        locate(weights, given)
    except UserError as error:
        return str(error)
    return None


def locate(weights: Mapping[str, str], given: str | None) -> Path:
    """The file of the weights on this machine, fetched if need be.

    Raises:
        UserError: it is neither here nor can be fetched, or is not what the trial was planned with.
    """
    if weights["pretrained"].startswith(CONTENT):
        return _given(weights, given)
    if weights["architecture"].startswith(TIMM):
        return _from_hub(weights)
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    file = folder / weights["file"]
    if not file.is_file():
        address = tags_of(weights["architecture"]).get(weights["pretrained"], "")
        try:
            host = address.partition("://")[2].partition("/")[0]
            socket.create_connection((host, 443), timeout=3).close()  # a network that drops packets costs minutes
            folder.mkdir(parents=True, exist_ok=True)
            digits = file.stem.rpartition("-")[2]
            torch.hub.download_url_to_file(address, str(file), hash_prefix=digits, progress=False)
        except Exception as error:
            raise UserError(
                f"backbone: the weights {weights['pretrained']!r} of {weights['architecture']} are not on this machine "
                f"({socket.gethostname()}) and could not be fetched ({type(error).__name__}). Either fetch {address} "
                f"elsewhere and put it into {folder} (TORCH_HOME names another place), or give a checkpoint's path as "
                f"`pretrained:`, or leave `pretrained:` out and train from scratch"
            ) from error
    return file


def _from_hub(weights: Mapping[str, str]) -> Path:
    """The weights of a network of timm, from the Hugging Face Hub or its cache on this machine."""
    from huggingface_hub import constants, hf_hub_download

    hub = weights["file"]
    try:
        with suppress(Exception):
            return Path(hf_hub_download(hub, _HUB_FILE, local_files_only=True))
        if constants.HF_HUB_OFFLINE:
            raise OSError("HF_HUB_OFFLINE is set")
        socket.create_connection(("huggingface.co", 443), timeout=3).close()
        return Path(hf_hub_download(hub, _HUB_FILE))
    except Exception as error:
        reason = str(error) if type(error) is OSError else type(error).__name__
        raise UserError(
            f"backbone: the weights {weights['pretrained']!r} of {weights['architecture']} are not on this machine "
            f"({socket.gethostname()}) and could not be fetched ({reason}). Either run `hf download {hub} {_HUB_FILE}` "
            f"where there is a network and copy its cache here (HF_HOME names another place), or give that file's path "
            f"as `pretrained:`, or leave `pretrained:` out and train from scratch"
        ) from error


def _given(weights: Mapping[str, str], given: str | None) -> Path:
    file = Path(given or "").expanduser()
    where = f"backbone: {given or 'a checkpoint'} on {socket.gethostname()}"
    try:
        found = content_of(file)
    except OSError as error:
        raise UserError(f"{where}: cannot be read ({error.strerror}); it must lie under the same path on every machine "
                        f"that trains") from error  # fmt: skip
    if found != weights["pretrained"]:
        raise UserError(f"{where}: has other contents ({found}) than the trial was planned with "
                        f"({weights['pretrained']})")  # fmt: skip
    return file


def state_of(file: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name: a state dict, or one under `state_dict` or `model`, with or without the
    `module.` of a network that was trained on several GPUs. Only tensors are read, never code.

    Raises:
        UserError: it is damaged, or holds other things.
    """
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            found: Any = load_file(file)
        else:
            found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes the reader fail in any way
        reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
        raise UserError(f"backbone: {file} is not a checkpoint of tensors alone ({reason})") from error
    for key in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()) or not found:
        raise UserError(f"backbone: {file} does not hold the weights of a network by name")
    return {str(name).removeprefix("module."): value for name, value in found.items()}
