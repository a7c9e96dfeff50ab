"""Getting a published file, checked by its MD5, and taking out of an archive what is wanted."""

from __future__ import annotations

import tarfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.error import URLError
from zipfile import BadZipFile

from ltbench.errors import NotWritten, UserError
from ltbench.system.files import write_atomically

LARGEST = 1 << 29
"""Bytes; the largest file that is taken out of an archive, STL-10's test images, has 221 million."""


class Published(NamedTuple):
    """A file that its authors offer: where, and the MD5 it must have."""

    url: str
    md5: str

    @property
    def name(self) -> str:
        """As it is called on the disk."""
        return self.url.rpartition("/")[2]


def fetched(file: Published, folder: Path) -> Path:
    """The file in a folder, downloaded unless it is there as it was published.

    Raises:
        URLError, OSError, RuntimeError: it cannot be had, or is another file.
    """
    from torchvision.datasets import utils

    if not utils.check_integrity(folder / file.name, file.md5):
        utils.download_url(file.url, folder, file.name, file.md5)
    return folder / file.name


@contextmanager
def told_what_to_do(kind: str, data: Path, archive: str, place: Path) -> Iterator[None]:
    """Within, whatever keeps a data set from being fetched or read is told with its cure.

    Args:
        kind: the data set. data: the data folder.
        archive: the name of the published file, or names. place: what exists once it is where it belongs: the file, or
            the folder that it unpacks to.

    Raises:
        UserError: what was wrong, and where to put the file.
    """
    try:
        yield
    except NotWritten:
        raise
    except (URLError, RuntimeError, OSError, tarfile.TarError, BadZipFile, EOFError) as error:
        verb = "put" if place.suffix else "unpack"
        raise UserError(
            f"{kind}: not found under {data} and it could not be downloaded ({error}). Without a network, {verb} the "
            f"official file ({archive}) there, so that {place} exists, or point --data (LTBENCH_DATA) to the folder "
            f"that holds it"
        ) from error


def unpack(archive: Path, folder: Path, names: Collection[str]) -> None:
    """Take the files of these names out of a tar archive, each from where the official one has it: FOLDER/NAME. Nothing
    else in it is looked at: no path, link or device of the archive's choosing is ever made."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            parent, _, name = member.name.rpartition("/")
            wanted = member.isreg() and parent == folder.name and name in names and member.size <= LARGEST
            stream = tar.extractfile(member) if wanted else None
            if stream is not None:
                write_atomically(folder / name, stream.read())
