#!/usr/bin/env bash
# Roles, database and extension for a PostgreSQL server that Redline does not run itself. Run it once, as superuser;
# PGHOST and the like name the server. app/foundation/database_setup.py does the same for the embedded cluster.
set -euo pipefail

: "${REDLINE_OWNER_PASSWORD:?}" "${REDLINE_APP_PASSWORD:?}"
export PGUSER="${POSTGRES_USER:-${PGUSER:-postgres}}"

psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --dbname=postgres <<'SQL'
\getenv owner_password REDLINE_OWNER_PASSWORD
\getenv app_password REDLINE_APP_PASSWORD
SET password_encryption = 'scram-sha-256';
CREATE ROLE redline_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD :'owner_password';
CREATE ROLE redline_app LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD :'app_password';
CREATE DATABASE redline OWNER redline_owner TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8';
REVOKE ALL ON DATABASE redline FROM PUBLIC;
GRANT CONNECT ON DATABASE redline TO redline_app;
SQL

psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --dbname=redline <<'SQL'
CREATE EXTENSION IF NOT EXISTS postgis;
-- Without this, row-level security keeps spatial indexes from being used.
ALTER FUNCTION geometry_overlaps(geometry, geometry) LEAKPROOF;
SQL
