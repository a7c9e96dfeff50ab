"""`ltbench plan` as a stranger types it: what would run, what is skipped, and what is refused."""

from __future__ import annotations

from pathlib import Path

from ltbench.planning.bundle import read_bundle
from ltbench.results.journal import Journal
from ltbench.spec import Record
from tests.cli.made import Run


def test_a_users_mistake_is_one_message_and_exit_code_2(ltbench: Run) -> None:
    code, _, err = ltbench("plan", "quickstrt")
    assert code == 2
    assert err.startswith("error: quickstrt: no such suite")
    assert "Did you mean 'quickstart'?" in err


def test_plan_counts_what_would_run_and_does_nothing(ltbench: Run, tmp_path: Path) -> None:
    code, out, _ = ltbench("plan", "quickstart", "--results", str(tmp_path / "r"), "--seeds", "0,1", "--only", "ce")
    assert code == 0
    assert out.startswith("quickstart: 4 trials: 4 to run, 0 finished, 0 failed")
    assert not (tmp_path / "r").exists()


def test_plan_says_what_is_skipped_and_why(ltbench: Run) -> None:
    _, out, _ = ltbench("plan", "quickstart", "--set", "text=null")
    assert (
        "skipped: text_guided_mixup on digits IF20, text_guided_mixup on digits IF50: needs class-name vectors" in out
    )


def test_seeds_must_be_different_numbers(ltbench: Run) -> None:
    for seeds in ("0,x", "1,1", "-1"):
        code, _, err = ltbench("plan", "quickstart", f"--seeds={seeds}")
        assert code == 2
        assert f"--seeds {seeds}" in err


def test_a_plan_tells_what_is_finished_and_what_failed(ltbench: Run, tmp_path: Path) -> None:
    chosen = ["--results", str(tmp_path), "--seeds", "0,1,2", "--only", "ce"]
    ltbench("plan", "quickstart", "--export", str(tmp_path / "bundle"), *chosen)
    specs = [read_bundle(file)[0] for file in sorted((tmp_path / "bundle").glob("*.json"))]
    journal = Journal(tmp_path / "quickstart" / "records")
    journal.write(Record(spec=specs[0], status="ok"))
    journal.write(Record(spec=specs[1], status="failed", error="boom"))
    _, out, _ = ltbench("plan", "quickstart", *chosen)
    assert out.startswith("quickstart: 6 trials: 4 to run, 1 finished, 1 failed")


def test_a_bundle_that_cannot_be_written_is_exit_code_2(ltbench: Run, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    code, _, err = ltbench("plan", "quickstart", "--export", str(tmp_path / "taken"), "--results", str(tmp_path))
    assert code == 2
    assert str(tmp_path / "taken") in err


def test_a_plan_shows_what_the_long_tails_came_out_as(ltbench: Run) -> None:
    code, out, _ = ltbench("plan", "quickstart", "--set", "protocol.shots={many: 50, few: 10}")
    assert code == 0
    (line,) = (line for line in out.splitlines() if line.startswith("digits IF50 "))
    assert line.split() == ["digits", "IF50", "10", "353", "128", "2", "3", "3", "4", "500"]
    assert "many (> 50)" in out
    assert "few (< 10)" in out


def test_a_factor_that_came_out_otherwise_is_told(ltbench: Run) -> None:
    """IF 50 of 128 images is 2.56 of the rarest class, so 2; IF 20 is 6.4, so 6: within a tenth."""
    _, out, _ = ltbench("plan", "quickstart")
    assert "digits IF50: the imbalance factor came out as 64, not 50: the smallest class has 2 images" in out
    assert "digits IF20: the imbalance factor" not in out


def test_a_head_of_class_names_without_text_names_the_cure(ltbench: Run) -> None:
    changes = ["--set", "text=null", "--set", "recipes.scratch.head=text"]
    _, out, err = ltbench("plan", "quickstart", "--only", "ce,text_guided_mixup", *changes)
    said = out + err
    assert "`recipes.scratch.head: linear` needs none" in said
    _, out, err = ltbench("plan", "quickstart", "--only", "text_guided_mixup", "--set", "text=null")
    assert "head: linear" not in out + err


def test_a_folder_of_methods_that_no_row_is_from_is_told(ltbench: Run, tmp_path: Path) -> None:
    """Found in a first hour: the method was checked, and the run trained nothing."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "my_loss.py").write_text(
        'from ltbench.api import Method\n\n\nclass MyLoss(Method):\n    """Mine."""\n'
    )
    given = ("quickstart", "--methods", str(tmp_path / "mine"), "--results", str(tmp_path))
    _, _, err = ltbench("plan", *given)
    assert "the suite has no row of my_loss; name it in the suite under `methods`" in err
    _, _, err = ltbench("plan", *given, "--set", "methods={scratch: [ce, my_loss]}")
    assert "has no row of" not in err
