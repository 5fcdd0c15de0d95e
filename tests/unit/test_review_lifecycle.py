"""The review's table says something about every state, reason and hand."""

from app.access.models import Role
from app.casework.lifecycle import REVIEW_STATE_LABELS, ReviewState
from app.casework.lifecycle_docs import lifecycle_markdown, review_mermaid
from app.casework.review_bulk import _ACTS
from app.casework.review_lifecycle import (
    HAND_LABELS,
    PROPOSED,
    REVIEW_TRANSITIONS,
    BulkCommand,
    Hand,
    ReviewCommand,
    review_commands_from,
)
from app.casework.vocabulary import DISMISS_REASONS, DismissReason

S = ReviewState


def test_every_command_and_word_has_its_row() -> None:
    assert set(REVIEW_TRANSITIONS) == set(ReviewCommand)
    assert set(DISMISS_REASONS) == set(DismissReason)
    assert set(REVIEW_STATE_LABELS) == set(S)
    assert set(HAND_LABELS) == set(Hand)
    assert set(_ACTS) == set(BulkCommand)
    assert {command.value for command in BulkCommand} <= {command.value for command in ReviewCommand}


def test_a_proposal_ends_by_a_second_hand_or_the_proposers_own() -> None:
    for proposed, decided in PROPOSED.items():
        rows = [REVIEW_TRANSITIONS[command] for command in review_commands_from(proposed)]
        assert {row.hand for row in rows} == {Hand.second, Hand.proposer}
        # The proposer's own hand leads back alone.
        assert [row.leads_to(proposed) for row in rows if row.hand is Hand.proposer] == [S.reviewing]
        assert decided in {row.leads_to(proposed) for row in rows if row.hand is Hand.second}
    # What is dismissed or authorised at once can be proposed instead, and nothing else can.
    proposing = {row.command: row.proposes for row in REVIEW_TRANSITIONS.values() if row.proposes}
    assert proposing == {
        ReviewCommand.dismiss: S.dismissal_proposed,
        ReviewCommand.authorise: S.authorisation_proposed,
    }
    assert all(PROPOSED[target] == REVIEW_TRANSITIONS[command].target for command, target in proposing.items())


def test_no_role_but_officers_and_the_province_decides() -> None:
    assert {role for row in REVIEW_TRANSITIONS.values() for role in row.roles} == {Role.officer, Role.province}


def test_the_page_has_the_review() -> None:
    page = lifecycle_markdown()
    assert "dismissal_proposed --> dismissed: uphold_review" in review_mermaid()
    assert review_mermaid() in page
    for code, row in DISMISS_REASONS.items():
        assert f"| `{code}` | {row.label} |" in page
    assert "5% are drawn" in page
