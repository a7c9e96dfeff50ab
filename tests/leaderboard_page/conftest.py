"""The boards that the page is about: each is made once."""

from __future__ import annotations

import pytest

from ltbench.ranking.board import Leaderboard, Row, Table
from ltbench.workflow.make_board import BoardRequest, RankedResults, make_board
from tests.leaderboard_page.page import REFERENCE


@pytest.fixture(scope="session")
def ranked() -> RankedResults:
    """Of the quickstart's records that come with ltbench."""
    return make_board(BoardRequest(source=REFERENCE / "quickstart"))


@pytest.fixture(scope="session")
def board(ranked: RankedResults) -> Leaderboard:
    return ranked.board


@pytest.fixture(scope="session")
def table(board: Leaderboard) -> Table:
    (only,) = board.tables
    return only


@pytest.fixture(scope="session")
def rows(table: Table) -> dict[str, Row]:
    return {row.label: row for row in table.rows}
