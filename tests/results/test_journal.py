"""The journal: a crash at any moment leaves the old record or the new one; a damaged file is named, not believed."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltbench.errors import UserError
from ltbench.results.journal import Journal, Unreadable
from ltbench.spec import Record
from ltbench.system import files as files_module
from tests.results.made import FILE, FOREIGN, NEW, OLD, SPEC, no_space

Break = Callable[[str], None]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "records")


def files_in(journal: Journal) -> set[str]:
    return {f.name for f in journal.folder.iterdir()} if journal.folder.exists() else set()


# -- round trips -------------------------------------------------------------------------------------------------------


def test_a_record_comes_back_as_it_was_written(journal: Journal) -> None:
    journal.write(NEW)
    assert journal.read(NEW.key) == NEW
    assert journal.records() == {NEW.key: NEW}


def test_an_undefined_metric_comes_back_as_none(journal: Journal) -> None:
    journal.write(NEW)
    assert journal.records()[NEW.key].metrics["few"] is None


def test_predictions_lie_beside_the_record(journal: Journal) -> None:
    journal.write(NEW)
    assert journal.predictions(NEW.key) == NEW.predictions
    assert files_in(journal) == {FILE, f"{NEW.key}.npz"}


def test_a_record_without_predictions_leaves_no_file_for_them(journal: Journal) -> None:
    journal.write(OLD)
    assert journal.predictions(OLD.key) is None
    assert files_in(journal) == {FILE}


def test_a_key_that_is_not_there_is_none(journal: Journal) -> None:
    assert journal.read("0" * 12) is None
    assert list(journal) == []


def test_a_newer_record_replaces_an_older_one_of_the_same_trial(journal: Journal) -> None:
    journal.write(OLD)
    journal.write(NEW)
    assert [r.status for r in journal.records().values()] == ["ok"]


@given(
    metrics=st.dictionaries(
        st.text(max_size=5), st.none() | st.floats(allow_nan=False, allow_infinity=False), max_size=4
    )
)
def test_any_finite_metrics_come_back_bit_by_bit(
    metrics: dict[str, float | None], tmp_path_factory: pytest.TempPathFactory
) -> None:
    journal = Journal(tmp_path_factory.mktemp("any", numbered=True))
    journal.write(replace(NEW, metrics=metrics))
    assert journal.records()[NEW.key].metrics == metrics


def test_a_metric_that_is_not_a_number_is_never_written(journal: Journal) -> None:
    with pytest.raises(ValueError, match="JSON"):
        journal.write(replace(NEW, metrics={"accuracy": float("nan")}))
    assert FILE not in files_in(journal)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_the_users_umask_says_who_may_read_and_write_a_record(umask: int, mode: int, journal: Journal) -> None:
    """mkstemp makes files for one's own eyes; a journal on shared storage is for a team, and a private one is not."""
    before = os.umask(umask)
    try:
        file = journal.write(NEW)
    finally:
        os.umask(before)
    assert {f.stat().st_mode & 0o777 for f in (file, file.with_suffix(".npz"))} == {mode}


# -- crashes -----------------------------------------------------------------------------------------------------------


def interrupted(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


@pytest.fixture
def breaks(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[..., Any]], None]:
    """`breaks("os.replace", no_space)`: from now on that call of the journal fails."""

    def arm(where: str, how: Callable[..., Any]) -> None:
        module, name = where.split(".")
        monkeypatch.setattr(getattr(files_module, module), name, how)

    return arm


STEPS = ["os.replace", "os.fsync", "os.fdopen", "os.open"]


@pytest.mark.parametrize("step", STEPS)
def test_a_full_disk_leaves_the_old_record_and_no_scratch_file(
    step: str, journal: Journal, breaks: Callable[..., None]
) -> None:
    journal.write(OLD)
    breaks(step, no_space)
    with pytest.raises(UserError, match=r"cannot be written \(No space left on device\); make room"):
        journal.write(replace(NEW, predictions=None))
    assert journal.read(OLD.key) == OLD
    assert files_in(journal) == {FILE}


@pytest.mark.parametrize("step", STEPS)
def test_a_full_disk_leaves_nothing_where_nothing_was(step: str, journal: Journal, breaks: Callable[..., None]) -> None:
    breaks(step, no_space)
    with pytest.raises(UserError, match=SPEC.key):
        journal.write(NEW)
    assert files_in(journal) == set()


@pytest.mark.parametrize("step", STEPS)
def test_an_interrupt_while_writing_leaves_the_old_record_and_goes_through(
    step: str, journal: Journal, breaks: Callable[..., None]
) -> None:
    journal.write(OLD)
    breaks(step, interrupted)
    with pytest.raises(KeyboardInterrupt):
        journal.write(NEW)
    assert journal.read(OLD.key) == OLD
    assert files_in(journal) == {FILE}


def test_a_folder_that_cannot_be_made_is_an_error_with_a_cure(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match=r"choose another --results"):
        Journal(tmp_path / "taken").write(NEW)


def test_a_record_is_never_seen_without_its_predictions(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Predictions first: whoever finds the record finds them too."""
    names: list[str] = []
    real = os.replace

    def note(source: str, target: Path) -> None:
        names.append(target.suffix)
        real(source, target)

    monkeypatch.setattr(os, "replace", note)
    journal.write(NEW)
    assert names == [".npz", ".json"]


def test_a_scratch_file_of_a_killed_process_is_no_record(journal: Journal) -> None:
    journal.write(NEW)
    (journal.folder / f".{FILE}-abc123").write_text("{")
    assert [type(r) for r in journal] == [Record]


# -- damaged and foreign files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", FOREIGN)
def test_a_trial_whose_record_is_damaged_counts_as_not_run(damage: str, journal: Journal) -> None:
    journal.folder.mkdir()
    (journal.folder / FILE).write_bytes(FOREIGN[damage])
    assert journal.read(SPEC.key) is None


@pytest.mark.parametrize("damage", FOREIGN)
def test_a_damaged_file_is_kept_aside_when_its_trial_ran_again(damage: str, journal: Journal) -> None:
    journal.folder.mkdir()
    for _ in range(2):
        (journal.folder / FILE).write_bytes(FOREIGN[damage])
        (journal.folder / FILE).with_suffix(".npz").write_bytes(b"old")
        journal.write(NEW)
    assert journal.read(NEW.key) == NEW
    assert journal.predictions(NEW.key) == NEW.predictions
    for name in (f"{FILE}.damaged", f"{FILE}.damaged2"):
        assert (journal.folder / name).read_bytes() == FOREIGN[damage]
    assert (journal.folder / f"{NEW.key}.npz.damaged").read_bytes() == b"old"
    assert list(journal.records()) == [NEW.key]


@pytest.mark.parametrize("key", ["../outside", "/etc/passwd", "", "ABCDEF012345", "0123456789ab/../x"])
def test_a_key_that_is_none_names_no_file(key: str, journal: Journal, tmp_path: Path) -> None:
    journal.folder.mkdir()
    for name in ("outside.npz", "outside.json"):
        (tmp_path / name).write_text("secret")
    assert journal.predictions(key) is None
    assert journal.read(key) is None


def test_a_record_under_the_name_of_another_trial_is_not_taken_for_it(journal: Journal) -> None:
    file = journal.write(NEW)
    file.rename(journal.folder / f"{'0' * 12}.json")
    assert journal.read("0" * 12) is None


def test_a_damaged_record_does_not_hide_the_others(journal: Journal) -> None:
    journal.write(NEW)
    (journal.folder / "0.json").write_text("{")
    assert list(journal.records()) == [NEW.key]
    assert [type(r) for r in journal] == [Unreadable, Record]


# -- what cannot be read is no damage ----------------------------------------------------------------------------------


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """`away(errno.ESTALE)`: from now on no file can be read."""
    monkeypatch.setattr(files_module, "_PAUSES", (0.0, 0.0))

    def arm(number: int) -> None:
        def read(file: Path) -> bytes:
            raise OSError(number, os.strerror(number), str(file))

        monkeypatch.setattr(Path, "read_bytes", read)

    return arm


UNREAD = [errno.ESTALE, errno.EIO, errno.EACCES]


@pytest.mark.parametrize("number", UNREAD)
def test_a_trial_whose_record_cannot_be_read_does_not_run_again(
    number: int, journal: Journal, away: Callable[[int], None]
) -> None:
    journal.write(NEW)
    away(number)
    with pytest.raises(UserError, match=re.escape(f"{FILE}: cannot be read ({os.strerror(number)})")):
        journal.read(NEW.key)


@pytest.mark.parametrize("number", UNREAD)
def test_a_record_that_cannot_be_read_is_not_set_aside(
    number: int, journal: Journal, away: Callable[[int], None]
) -> None:
    journal.write(OLD)
    away(number)
    (found,) = journal
    assert isinstance(found, Unreadable)
    assert not found.damaged
    journal.write(NEW)
    assert files_in(journal) == {FILE, f"{NEW.key}.npz"}


@pytest.mark.parametrize("number", UNREAD)
def test_predictions_that_cannot_be_read_are_missing_or_where_they_are_needed_an_error(
    number: int, journal: Journal, away: Callable[[int], None]
) -> None:
    journal.write(NEW)
    away(number)
    assert journal.predictions(NEW.key) is None
    with pytest.raises(UserError, match="cannot be read"):
        journal.predictions(NEW.key, needed=True)


@pytest.mark.parametrize("make", [os.mkfifo, lambda file: os.symlink("/dev/zero", file), os.mkdir])
@pytest.mark.parametrize("ending", ["json", "npz"])
def test_what_is_no_plain_file_is_neither_waited_for_nor_read_for_ever(
    make: Callable[[Path], None], ending: str, journal: Journal
) -> None:
    journal.folder.mkdir()
    make(journal.folder / f"{NEW.key}.{ending}")
    assert [u.reason for u in journal if isinstance(u, Unreadable)] == ["it is no plain file"] * (ending == "json")
    assert journal.read(NEW.key) is None
    assert journal.predictions(NEW.key) is None


def test_a_link_to_nothing_is_kept_aside_like_other_damage(journal: Journal) -> None:
    journal.folder.mkdir()
    (journal.folder / FILE).symlink_to("nowhere")
    assert journal.read(NEW.key) is None
    journal.write(NEW)
    assert journal.read(NEW.key) == NEW
    assert (journal.folder / f"{FILE}.damaged").is_symlink()
