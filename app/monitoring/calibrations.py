"""Sets of parameters that turn scores into probabilities: proposed, compared, switched on by an administrator.

One set is active. A run takes the one that is active when it begins, to its end. What was published keeps its
probabilities until a run has something to say of it, and names the set that they come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.service import Caller
from app.foundation.errors import Conflict, Invalid, NotFound, StaleVersion
from app.foundation.time import legal_day, utc_now
from app.monitoring.activities import recogniser_versions
from app.monitoring.models import CalibrationDecision, CalibrationSet, CalibrationStatus, Run
from detectors.calibration import DEFAULT, Calibration
from detectors.fitting import Decision as Decision
from detectors.fitting import fit
from detectors.reliability import FOLDS, compare
from detectors.reliability import expected_calibration_error as expected_calibration_error

Status = CalibrationStatus


@dataclass(frozen=True)
class Basis:
    """What decisions a set is fitted on.

    Attributes:
        undecided, without_scores: detections that were left out: on nobody's desk yet, or published before scores were
            kept.
        ledger_sequence: of the last event that was read. simulated: whether they are about simulated imagery.
        digest: of the decisions (SHA-256, hexadecimal).
    """

    decisions: Sequence[Decision]
    undecided: int
    without_scores: int
    ledger_sequence: int
    simulated: bool
    digest: str

    @property
    def sites(self) -> int:
        return len({decision.site for decision in self.decisions})


def active(session: Session) -> CalibrationSet:
    """The set that is switched on."""
    return session.scalars(select(CalibrationSet).where(CalibrationSet.status == Status.active)).one()


def of_run(session: Session, run: Run) -> Calibration:
    """The parameters that a run goes by: those that were active when it began."""
    if run.calibration is None:
        return Calibration.from_json(active(session).parameters)
    return Calibration.from_json(by_version(session, run.calibration).parameters)


def by_version(session: Session, version: str) -> CalibrationSet:
    """Raises: NotFound: there is none of this version."""
    found = session.scalar(select(CalibrationSet).where(CalibrationSet.version == version))
    if found is None:
        raise NotFound()
    return found


def outdated(row: CalibrationSet) -> list[str]:
    """The recognisers that have another version now, or did not exist, when a set was fitted: their scores mean
    something else. Of the set that came with the program: none."""
    fitted_for = row.basis.get("recognisers")
    if fitted_for is None:
        return []
    now = recogniser_versions()
    return sorted(code for code in {*now, *fitted_for} if now.get(code) != fitted_for.get(code))


def is_worse(row: CalibrationSet) -> bool:
    """Whether a set did worse than the one before it on decisions that were held out."""
    return bool(row.comparison and row.comparison["is_worse"])


def propose(session: Session, basis: Basis, least: int) -> CalibrationSet:
    """A new set, fitted on decisions and compared with the active one.

    It starts from the program's own set and not from the active one, so that decisions count once however often they
    are used.

    Args:
        least: decisions that are needed.

    Raises:
        Conflict: there are too few decisions, or a set was proposed on the same ones.
    """
    found = len(basis.decisions)
    if found < least:
        raise Conflict(
            f"{found} decisions can be learned from, {least} are needed. {basis.undecided} detections are undecided, "
            f"{basis.without_scores} were published before scores were kept."
        )
    _lock_all(session)
    recognisers = recogniser_versions()
    for other in session.scalars(select(CalibrationSet).where(CalibrationSet.status == Status.proposed)):
        if other.basis.get("digest") == basis.digest and other.basis.get("recognisers") == recognisers:
            raise Conflict(f"These decisions were learned from already: set {other.version} is proposed.")
    standing = active(session)
    against = standing.held_out or [standing.parameters] * FOLDS
    try:
        comparison = compare(basis.decisions, DEFAULT, [Calibration.from_json(content) for content in against])
    except ValueError as error:
        raise Conflict(f"Nothing can be compared: {error}.") from None
    words = f"{found} decisions on {basis.sites} sites, ledger up to event {basis.ledger_sequence}"
    fitted = fit(basis.decisions, DEFAULT, version=_next_version(session), basis=words)
    row = CalibrationSet(
        version=fitted.version,
        status=Status.proposed,
        revision=1,
        parameters=fitted.to_json(),
        held_out=[refit.to_json() for refit in comparison.refits],
        basis={
            "decisions": found,
            "sites": basis.sites,
            "undecided": basis.undecided,
            "without_scores": basis.without_scores,
            "ledger_sequence": basis.ledger_sequence,
            "simulated": basis.simulated,
            "digest": basis.digest,
            "recognisers": recognisers,
        },
        compared_with=standing.version,
        comparison=comparison.to_json(),
    )
    session.add(row)
    session.flush()
    return row


def activate(
    session: Session, caller: Caller, version: str, expected: int, *, note: str | None, force: bool
) -> CalibrationSet:
    """Switch a proposed or retired set on, and the active one off, from the next run on.

    Args:
        force: although something speaks against it; the note says why.

    Raises:
        NotFound: there is none. StaleVersion: it was decided on meanwhile.
        Conflict: it is active or was rejected; or `force` is not given and it did worse on held-out decisions, was
            compared with another set than the active one, was fitted on simulated imagery, or recognisers have changed
            since.
        Invalid: `force` without a note.
    """
    row = _take(session, version, expected, (Status.proposed, Status.retired), "switched on")
    before = active(session)
    against = _objections(row, before)
    if against and not force:
        raise Conflict(
            f"{' '.join(against)} To switch it on all the same, send `force` with a note that says why.",
            comparison=row.comparison,
            outdated=outdated(row),
        )
    if force and not note:
        raise Invalid("Mend these fields: note.", errors=[{"pointer": "note", "detail": "say why, in words"}])
    _decide(session, caller, before, Status.retired, f"set {version} was switched on")
    _decide(session, caller, row, Status.active, note)
    return row


def reject(session: Session, caller: Caller, version: str, expected: int, note: str) -> CalibrationSet:
    """Refuse a proposed set for good.

    Raises:
        NotFound: there is none. StaleVersion: it was decided on meanwhile. Conflict: it is not proposed.
    """
    row = _take(session, version, expected, (Status.proposed,), "rejected")
    _decide(session, caller, row, Status.rejected, note)
    return row


def decisions_of(session: Session, rows: Sequence[CalibrationSet]) -> list[CalibrationDecision]:
    """What was decided on sets, oldest first."""
    mine = select(CalibrationDecision).where(CalibrationDecision.calibration_id.in_([row.id for row in rows]))
    return list(session.scalars(mine.order_by(CalibrationDecision.id)))


def _objections(row: CalibrationSet, standing: CalibrationSet) -> list[str]:
    """What speaks against a set beside the one that it would take the place of."""
    against = []
    if is_worse(row):
        against.append(f"On held-out decisions set {row.version} did worse than set {row.compared_with}.")
    if row.status is Status.proposed and row.compared_with not in (None, standing.version):
        against.append(
            f"It was compared with set {row.compared_with}, and set {standing.version} has been switched on since; "
            "propose a new one."
        )
    if row.basis.get("simulated"):
        against.append("It was fitted on simulated imagery.")
    changed = outdated(row)
    if changed:
        against.append(f"These recognisers have changed since it was fitted: {', '.join(changed)}.")
    return against


def _take(
    session: Session, version: str, expected: int, possible: tuple[CalibrationStatus, ...], what: str
) -> CalibrationSet:
    """A set as it stands now, locked together with all others; revision and status checked."""
    _lock_all(session)
    row = by_version(session, version)
    if row.revision != expected:
        raise StaleVersion("The set was decided on meanwhile; read it again.")
    if row.status not in possible:
        raise Conflict(f"A set that is {row.status} cannot be {what}.", status_of_set=row.status.value)
    return row


def _lock_all(session: Session) -> None:
    """Of two that decide at once the second one sees what the first one did. There are few sets."""
    statement = select(CalibrationSet).order_by(CalibrationSet.id).with_for_update()
    session.scalars(statement.execution_options(populate_existing=True)).all()


def _decide(session: Session, caller: Caller, row: CalibrationSet, status: CalibrationStatus, note: str | None) -> None:
    row.status = status
    row.revision += 1
    session.add(CalibrationDecision(calibration_id=row.id, status=status, decided_by=caller.account_id, note=note))
    # One after the other: at no time are two active.
    session.flush()


def _next_version(session: Session) -> str:
    """Year and number; never that of a set that came with the program, which is a bare number."""
    year = legal_day(utc_now()).year
    there_are = session.scalars(select(CalibrationSet.version).where(CalibrationSet.version.like(f"{year}-%")))
    last = max((int(version.rpartition("-")[2]) for version in there_are), default=0)
    return f"{year}-{last + 1:03d}"
