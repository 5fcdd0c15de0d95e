"""The embedded database cluster against real servers, real signals and, when root runs the tests, real users."""

from __future__ import annotations

import multiprocessing
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from app.foundation import postgres_programs
from app.foundation.database_setup import connect
from app.foundation.embedded import ClusterError, EmbeddedCluster
from app.foundation.postgres_programs import server_account

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Data directory with a cluster in it, made under a hostile locale, where only this user may enter."""
    private = tmp_path_factory.mktemp("only mine")
    private.chmod(0o700)
    directory = private / "红线 data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LC_ALL", "tr_TR.ISO-8859-9")
        with EmbeddedCluster(directory, fsync=False):
            pass
    yield directory
    EmbeddedCluster(directory).stop()


@pytest.fixture
def cluster(data_dir: Path) -> Iterator[EmbeddedCluster]:
    with EmbeddedCluster(data_dir, fsync=False) as cluster:
        yield cluster


def _postmaster(data_dir: Path) -> int:
    return int((data_dir / "postgres" / "pgdata" / "postmaster.pid").read_text().splitlines()[0])


def _socket_directory(data_dir: Path) -> Path:
    return Path((data_dir / "postgres" / "pgdata" / "postmaster.pid").read_text().splitlines()[4])


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _eventually(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return met


def _answer(url: str, query: str) -> object:
    with connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def _user_process(data_dir: Path, then: str) -> subprocess.Popen[str]:
    """Another process that starts the cluster, says which server it uses, and then does something."""
    source = f"""
import sys, time
from pathlib import Path
from app.foundation.embedded import EmbeddedCluster
data_dir = Path({str(data_dir)!r})
cluster = EmbeddedCluster(data_dir, fsync=False)
cluster.start()
print((data_dir / "postgres/pgdata/postmaster.pid").read_text().splitlines()[0], flush=True)
{then}
"""
    return subprocess.Popen(
        [sys.executable, "-c", source],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _said(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


class TestWhatIsThereAfterTheStart:
    def test_locale_is_utf8_whatever_the_environment(self, cluster: EmbeddedCluster) -> None:
        for database in ("redline", "postgres", "template1"):
            row = _answer(
                cluster.urls.superuser,
                "SELECT pg_encoding_to_char(encoding) || ' ' || datcollate || ' ' || datctype FROM pg_database "
                f"WHERE datname = '{database}'",
            )
            assert row == "UTF8 C.UTF-8 C.UTF-8"

    def test_roles_have_no_more_rights_than_they_need(self, cluster: EmbeddedCluster) -> None:
        attributes = (
            "SELECT rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication "
            "FROM pg_roles WHERE rolname = current_user"
        )
        assert _answer(cluster.urls.owner, "SELECT current_user::text") == "redline_owner"
        assert _answer(cluster.urls.application, "SELECT current_user::text") == "redline_app"
        assert _answer(cluster.urls.owner, attributes) is False
        assert _answer(cluster.urls.application, attributes) is False

    def test_only_the_owner_makes_tables(self, cluster: EmbeddedCluster) -> None:
        with connect(cluster.urls.owner) as connection:
            connection.execute("CREATE TABLE owned (place geometry(MultiPolygon, 4490))")
            connection.execute("DROP TABLE owned")
        with connect(cluster.urls.application) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE TABLE taken (id int)")

    def test_the_overlap_operator_is_leakproof(self, cluster: EmbeddedCluster) -> None:
        query = "SELECT proleakproof FROM pg_proc WHERE oid = 'geometry_overlaps(geometry,geometry)'::regprocedure"
        assert _answer(cluster.urls.application, query) is True

    def test_a_wrong_password_opens_nothing(self, cluster: EmbeddedCluster) -> None:
        for url in (cluster.urls.superuser, cluster.urls.application):
            secret = url.partition("@")[0].rpartition(":")[2]
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                connect(url.replace(secret, "guess"))

    def test_passwords_stay_private(self, cluster: EmbeddedCluster, data_dir: Path) -> None:
        assert (data_dir / "postgres" / "secrets.json").stat().st_mode & 0o077 == 0
        assert "redline_app:" not in repr(cluster.urls)
        assert "PASSWORD" not in (data_dir / "postgres" / "server.log").read_text()

    def test_the_server_is_nobodys_root_and_nobodys_terminal(self, cluster: EmbeddedCluster, data_dir: Path) -> None:
        postmaster = _postmaster(data_dir)
        assert Path(f"/proc/{postmaster}").stat().st_uid == server_account().uid != 0
        assert os.getsid(postmaster) == postmaster
        assert _socket_directory(data_dir).stat().st_mode & 0o077 == 0
        assert _answer(cluster.urls.superuser, "SHOW listen_addresses") == ""

    def test_workers_copy_a_prepared_template(self, cluster: EmbeddedCluster) -> None:
        template = cluster.create_database("prepared")
        with connect(template.owner) as connection:
            connection.execute("CREATE TABLE seed AS SELECT 42 AS answer")
        copy = cluster.create_database("worker", template="prepared")
        assert _answer(copy.owner, "SELECT answer FROM seed") == 42
        assert _answer(copy.application, "SELECT ST_SRID(ST_SetSRID(ST_MakePoint(126, 43), 4490))") == 4490
        for name in ("worker", "prepared", "prepared"):
            cluster.drop_database(name)
        with pytest.raises(psycopg.OperationalError, match="does not exist"):
            connect(copy.owner)


class TestSharing:
    def test_the_last_user_stops_the_server(self, data_dir: Path) -> None:
        first, second = EmbeddedCluster(data_dir, fsync=False), EmbeddedCluster(data_dir, fsync=False)
        first.start()
        postmaster, sockets = _postmaster(data_dir), _socket_directory(data_dir)
        assert second.start() == first.start()
        assert _postmaster(data_dir) == postmaster
        first.release()
        assert _answer(second.urls.application, "SELECT 1") == 1
        second.release()
        second.release()
        assert not _alive(postmaster)
        assert not sockets.exists()

    def test_stop_ends_the_server_under_its_users(self, cluster: EmbeddedCluster, data_dir: Path) -> None:
        postmaster = _postmaster(data_dir)
        EmbeddedCluster(data_dir).stop()
        assert not _alive(postmaster)
        assert cluster.start() == cluster.urls

    def test_a_killed_user_leaves_its_server_to_the_next(self, data_dir: Path) -> None:
        user = _user_process(data_dir, "time.sleep(60)")
        postmaster = _said(user)
        user.kill()
        user.communicate()
        assert _alive(postmaster)
        with EmbeddedCluster(data_dir, fsync=False):
            assert _postmaster(data_dir) == postmaster
        assert not _alive(postmaster)

    def test_two_processes_that_start_at_once_share_one_server(self, tmp_path: Path) -> None:
        users = [_user_process(tmp_path, "sys.stdin.read(); cluster.release()") for _ in range(2)]
        servers = {_said(user) for user in users}
        assert len(servers) == 1
        for user in users:
            user.communicate()
            assert user.returncode == 0
        assert not _alive(servers.pop())


class TestAccidents:
    def test_a_killed_server_comes_up_again_with_its_data(self, cluster: EmbeddedCluster, data_dir: Path) -> None:
        with connect(cluster.urls.owner) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS id")
        postmaster, sockets = _postmaster(data_dir), _socket_directory(data_dir)
        with connect(cluster.urls.owner) as busy:  # Its server process outlives the killed postmaster for a moment.
            busy.execute("SELECT 1")
            os.kill(postmaster, signal.SIGKILL)
            cluster.start()
        assert _postmaster(data_dir) != postmaster
        assert not sockets.exists()
        assert _answer(cluster.urls.owner, "SELECT id FROM kept") == 1
        with connect(cluster.urls.owner) as connection:
            connection.execute("DROP TABLE kept")

    def test_a_pid_file_that_names_a_stranger_is_cleared(self, data_dir: Path) -> None:
        """PostgreSQL itself refuses here: the number belongs to a living process of the server's user."""
        account = server_account()
        stranger = subprocess.Popen(["sleep", "60"], user=account.uid if account.switch else None, cwd="/")
        try:
            leftover = data_dir / "postgres" / "pgdata" / "postmaster.pid"
            leftover.write_text(f"{stranger.pid}\n/somewhere\n{int(time.time())}\n5432\n/nowhere\n\n  1 1\nready   \n")
            os.chown(leftover, account.uid, account.gid)
            with EmbeddedCluster(data_dir, fsync=False) as cluster:
                assert _answer(cluster.urls.application, "SELECT 1") == 1
            assert stranger.poll() is None
        finally:
            stranger.kill()
            stranger.wait()

    def test_a_server_that_somebody_else_started_is_left_alone(self, data_dir: Path) -> None:
        own = EmbeddedCluster(data_dir, fsync=False)
        own.start()
        postmaster = _postmaster(data_dir)
        (data_dir / "postgres" / "cluster.server").unlink()  # Now nothing shows that Redline started it.
        try:
            with pytest.raises(ClusterError, match=rf"did not start .*{postmaster}"):
                EmbeddedCluster(data_dir, fsync=False).start()
            assert _alive(postmaster)
        finally:
            os.kill(postmaster, signal.SIGINT)
            assert _eventually(lambda: not _alive(postmaster))
            own.release()

    def test_a_lost_socket_is_made_anew(self, cluster: EmbeddedCluster, data_dir: Path) -> None:
        shutil.rmtree(_socket_directory(data_dir))
        assert _answer(cluster.start().application, "SELECT 1") == 1

    def test_an_interrupted_initdb_leaves_nothing_to_adopt(self, tmp_path: Path) -> None:
        user = _user_process(tmp_path, "")
        half_made = tmp_path / "postgres" / "pgdata.new"
        assert _eventually((half_made / "base").exists)
        user.kill()
        user.communicate()
        assert not (tmp_path / "postgres" / "pgdata").exists()
        with EmbeddedCluster(tmp_path, fsync=False) as cluster:
            assert _answer(cluster.urls.application, "SELECT 1") == 1
        assert not half_made.exists()

    def test_a_server_that_does_not_come_up_says_why(self, data_dir: Path) -> None:
        settings = data_dir / "postgres" / "pgdata" / "postgresql.conf"
        before = settings.read_text()
        settings.write_text(before + "no_such_setting = 1\n")
        try:
            with pytest.raises(ClusterError, match="no_such_setting"):
                EmbeddedCluster(data_dir, fsync=False).start()
        finally:
            settings.write_text(before)
        assert not (settings.parent / "postmaster.pid").exists()

    def test_lost_passwords_are_named(self, data_dir: Path) -> None:
        passwords = data_dir / "postgres" / "secrets.json"
        saved = passwords.rename(passwords.with_suffix(".saved"))
        try:
            with pytest.raises(ClusterError, match=r"secrets\.json is missing"):
                EmbeddedCluster(data_dir, fsync=False).start()
        finally:
            saved.rename(passwords)
        assert not (data_dir / "postgres" / "pgdata" / "postmaster.pid").exists()

    def test_missing_programs_are_named_with_the_cure(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(postgres_programs, "_DEBIAN_PROGRAMS", tmp_path)
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(ClusterError, match=r"make system.*postgresql-15-postgis-3"):
            EmbeddedCluster(tmp_path / "data").start()


def _as_ordinary_user(data_dir: Path) -> None:
    """Body of a forked process: the modules are loaded already, so the repository need not be readable."""
    nobody = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setgid(nobody.pw_gid)
    os.setuid(nobody.pw_uid)
    with EmbeddedCluster(data_dir, fsync=False) as cluster:
        assert Path(f"/proc/{_postmaster(data_dir)}").stat().st_uid == nobody.pw_uid
        assert _answer(cluster.urls.application, "SELECT current_user::text") == "redline_app"


@pytest.mark.skipif(os.geteuid() != 0, reason="all tests of this file run as an ordinary user already")
def test_an_ordinary_user_has_a_cluster_too() -> None:
    directory = Path(tempfile.mkdtemp(prefix="redline test "))
    try:
        nobody = pwd.getpwnam("nobody")
        os.chown(directory, nobody.pw_uid, nobody.pw_gid)
        process = multiprocessing.get_context("fork").Process(target=_as_ordinary_user, args=(directory / "data",))
        process.start()
        process.join(60)
        assert process.exitcode == 0
    finally:
        shutil.rmtree(directory)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_another_users_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir(mode=0o500)
    with pytest.raises(ClusterError, match="another user"):
        EmbeddedCluster(tmp_path).start()
