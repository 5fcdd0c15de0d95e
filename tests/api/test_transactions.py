"""One request is one transaction, committed before the answer is sent."""

from fastapi.testclient import TestClient
from sqlalchemy import text

from app.foundation.database import Database, SessionDep
from app.main import create_app
from app.settings import Settings


def _app_with_probe(settings: Settings, database: Database) -> TestClient:
    app = create_app(settings, database=database)

    @app.post("/probe")
    def probe(session: SessionDep, fail: bool = False) -> dict[str, str]:
        # The deferred constraint is checked at the commit and no sooner.
        session.execute(text("insert into probe values (1)"))
        if fail:
            session.execute(text("insert into probe values (1)"))
        return {"status": "written"}

    return TestClient(app, raise_server_exceptions=False)


def _make_probe(urls_owner: str) -> None:
    owner = Database(urls_owner)
    with owner.transaction() as session:
        session.execute(text("create table probe (id int unique deferrable initially deferred)"))
        session.execute(text("grant select, insert on probe to redline_app"))
    owner.dispose()


def test_a_failing_commit_is_an_error_and_not_a_lie(settings, database, database_urls) -> None:
    _make_probe(database_urls.owner)
    with _app_with_probe(settings, database) as client:
        answer = client.post("/probe", params={"fail": True})
        assert answer.status_code == 500
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"] == "urn:redline:problem:internal"
        assert "probe" not in answer.text
        with database.transaction() as session:
            assert session.scalar(text("select count(*) from probe")) == 0


def test_a_written_answer_is_committed(settings, database, database_urls) -> None:
    _make_probe(database_urls.owner)
    with _app_with_probe(settings, database) as client:
        assert client.post("/probe").status_code == 200
        with database.transaction() as session:
            assert session.scalar(text("select count(*) from probe")) == 1


def test_a_request_that_waits_for_a_lock_gives_up_and_says_so(settings, database, database_urls) -> None:
    _make_probe(database_urls.owner)
    owner = Database(database_urls.owner)
    with _app_with_probe(settings, database) as client, owner.transaction() as holder:
        holder.execute(text("lock table probe in access exclusive mode"))
        answer = client.post("/probe")
        assert answer.status_code == 503
        assert answer.json()["type"] == "urn:redline:problem:busy"
        assert answer.headers["Retry-After"] == "5"
    owner.dispose()
