"""Every setting of the service, read from the environment (prefix `REDLINE_`) or `.env`."""

from __future__ import annotations

import re
import shlex
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

# Signed with a private key that the provider alone has; never `none`, never HS*, whose key both sides hold.
OidcAlgorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
REPOSITORY = Path(__file__).resolve().parents[1]


class Settings(BaseSettings):
    """Settings of one process. Unset database addresses mean the embedded cluster under `data_dir`."""

    model_config = SettingsConfigDict(env_prefix="REDLINE_", env_file=".env", extra="ignore", frozen=True)

    data_dir: Path = Field(Path(".redline"), description="Everything the service keeps on disk by itself")
    database_url: str | None = Field(None, description="Login of the application role (postgresql+psycopg://)")
    database_owner_url: str | None = Field(
        None, description="Login of the role that owns the tables; used by `redline db upgrade` only"
    )
    storage_url: str | None = Field(
        None, description="Evidence and monitor state: file:///folder, or s3://bucket/prefix with AWS_* beside it"
    )
    dem: str | None = Field(
        None, description="Path or address of a height model (GeoTIFF or VRT, metres, any CRS) for slope and drainage"
    )
    dask_scheduler: str | None = Field(None, description="tcp:// address; unset: runs are computed in the worker")
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    workers: int = Field(1, ge=0, description="Worker processes that `redline up` starts beside the API")
    run_threads: int = Field(2, ge=1, description="Tiles computed at once by one worker")
    tile_attempts: int = Field(3, ge=1, le=10, description="Times that a failing tile is computed within one run")
    tile_retry_s: float = Field(5.0, ge=0, le=3600, description="Wait before a tile's second attempt; doubles")
    longest_run_hours: float = Field(
        72.0, gt=0, description="State files that no pointer names are spared by the sweep while they are younger"
    )
    token_hours: float = Field(12.0, gt=0, description="Life of a token given out at sign-in")
    max_token_days: float = Field(366.0, gt=0, le=3660, description="Longest life of an API token")
    trusted_proxies: int = Field(
        0, ge=0, le=10, description="Proxies of yours before the service, each adding to X-Forwarded-For; 0: not read"
    )
    oidc_issuer: str | None = Field(None, description="OpenID Connect provider whose tokens are taken; https://")
    oidc_audience: str | None = Field(None, description="What `aud` of its tokens must name")
    oidc_authorised_parties: list[str] = Field(
        [], description="What `azp` may be, JSON list; unset: the audience, asked where a token has several audiences"
    )
    oidc_jwks_url: str | None = Field(
        None, description="Where its keys are; unset: where its discovery document says, on the issuer's own host"
    )
    oidc_algorithms: list[OidcAlgorithm] = Field(["RS256", "PS256", "ES256"], min_length=1, description="JSON list")
    oidc_role_claim: str = Field("roles", description="Claim with the role's name or names; a.b reads b within a")
    oidc_role_map: dict[str, str] = Field({}, description="JSON: the provider's name of a role to ours")
    oidc_unit_claim: str = Field("unit", description="Claim with the supervising unit")
    oidc_unit_map: dict[str, str] = Field({}, description="JSON: its value to a unit's code; unset: it is the code")
    oidc_name_claim: str = Field("name", description="Claim with the name shown to people")
    oidc_scope_map: dict[str, list[str]] = Field(
        {}, description="JSON: a word of the claim `scope` to our scopes; unset: every token has all scopes"
    )
    oidc_keys_s: float = Field(600.0, ge=10, le=86400, description="How long the provider's keys are kept")
    oidc_leeway_s: float = Field(30.0, ge=0, le=300, description="How far the two clocks may differ")
    sample_dir: Path = Field(REPOSITORY / "sample", description="The sample data of the repository")
    notice_days: int | None = Field(
        None, ge=0, le=365, description="Days of public notice before closure; unset: as the chain of rules says"
    )
    tile_cache_bytes: int = Field(
        32 * 2**20, ge=0, description="Vector tiles of boundary layers that an API process keeps; 0: none"
    )
    max_upload_bytes: int = Field(
        64 * 2**20, gt=0, description="Largest evidence file sent in one request, and any other request"
    )
    max_evidence_bytes: int = Field(2 * 2**30, gt=0, description="Largest evidence file sent by a resumable upload")
    max_case_files: int = Field(1000, gt=0, description="Evidence files of one case")
    max_case_bytes: int = Field(50 * 2**30, gt=0, description="Evidence of one case, all files together")
    upload_hours: float = Field(24.0, gt=0, le=720, description="Life of an unfinished upload after its last piece")
    scan_command: str | None = Field(
        None,
        description="Malware scanner; the file's path is appended, no shell. Exit status 0: clean, 1: infected, "
        "other: failed",
    )
    scan_timeout_s: float = Field(60.0, gt=0, le=3600, description="How long the scanner may take for one file")
    max_layer_bytes: int = Field(512 * 2**20, gt=0, description="Largest file of a boundary layer sent over HTTP")
    max_unpacked_bytes: int = Field(2**30, gt=0, description="Largest content of an uploaded archive")

    ledger_key: Path | None = Field(
        None, description="Private key that signs the ledger (PEM, mode 0600); unset: made in the data directory"
    )
    seal_dir: Path | None = Field(
        None, description="Where seals are written for others to keep; unset: `seals` in the data directory"
    )

    templates_dir: Path | None = Field(
        None, description="The office's own templates of documents; one that is missing there is the standard one"
    )
    office_program: str = Field("soffice", min_length=1, description="LibreOffice, which makes PDF")

    service_url: str | None = Field(None, description="Address of this service for links in messages; https://")
    webhook_networks: list[IPv4Network | IPv6Network] = Field(
        [], description="JSON list of networks (CIDR) that webhooks may be sent to though they are not public"
    )
    smtp_host: str | None = Field(None, description="Mail server; unset: no mail is sent")
    smtp_port: int = Field(587, ge=1, le=65535)
    smtp_security: Literal["none", "starttls", "tls"] = "starttls"
    smtp_user: str | None = None
    smtp_password: SecretStr | None = None
    mail_from: str | None = Field(None, description="Sender of the service's mail, an address alone")

    @field_validator("data_dir", "sample_dir", "ledger_key", "seal_dir", "templates_dir")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser().resolve()

    @field_validator("database_url", "database_owner_url")
    @classmethod
    def _psycopg(cls, value: str | None) -> str | None:
        if not value:
            return None
        for prefix in ("postgresql://", "postgres://"):
            if value.startswith(prefix):
                return "postgresql+psycopg://" + value.removeprefix(prefix)
        return value

    @field_validator("storage_url")
    @classmethod
    def _bare_address(cls, value: str | None) -> str | None:
        """It is logged, and sent to the workers of a cluster."""
        if value and value.startswith(("s3://", "s3a://")):
            parts = urlsplit(value)
            if not parts.netloc or "@" in parts.netloc or ":" in parts.netloc or parts.query or parts.fragment:
                raise ValueError(
                    "it is s3://bucket/prefix; who signs in, and where the store is, "
                    "say AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL"
                )
        return value or None

    @field_validator("oidc_issuer", "oidc_jwks_url", "service_url")
    @classmethod
    def _safe_address(cls, value: str | None) -> str | None:
        """https, or this machine: whoever stands between could send keys of his own."""
        if not value:
            return None
        if not is_safe_address(value):
            raise ValueError("it is an https:// address without a user, query or fragment; http:// on loopback only")
        return value

    @field_validator("scan_command")
    @classmethod
    def _arguments(cls, value: str | None) -> str | None:
        # An open quotation mark is found when the service starts, not when the first file comes.
        return value if value and shlex.split(value) else None

    @model_validator(mode="after")
    def _provider_is_whole(self) -> Settings:
        if self.oidc_issuer and not (self.oidc_audience and self.oidc_role_map):
            raise ValueError("REDLINE_OIDC_ISSUER needs REDLINE_OIDC_AUDIENCE and REDLINE_OIDC_ROLE_MAP beside it")
        return self

    @property
    def storage(self) -> str:
        """Address of the object storage, a folder of the data directory when nothing else is set."""
        return self.storage_url or (self.data_dir / "storage").as_uri()

    @property
    def signing_key(self) -> Path:
        """The file of the ledger's private key."""
        return self.ledger_key or self.data_dir / "keys" / "ledger.pem"

    @model_validator(mode="after")
    def _mail_is_whole(self) -> Settings:
        if self.smtp_host and not (self.mail_from and is_mail_address(self.mail_from)):
            raise ValueError("REDLINE_SMTP_HOST needs REDLINE_MAIL_FROM beside it, an address like name@example.org")
        if self.smtp_user and self.smtp_password is None:
            raise ValueError("REDLINE_SMTP_USER needs REDLINE_SMTP_PASSWORD beside it")
        if self.smtp_user and self.smtp_security == "none" and not is_loopback(self.smtp_host or ""):
            raise ValueError("a password is not sent without TLS: set REDLINE_SMTP_SECURITY to starttls or tls")
        return self

    @property
    def seals(self) -> Path:
        """The folder of the seals' files."""
        return self.seal_dir or self.data_dir / "seals"


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_safe_address(address: str) -> bool:
    """Whether keys may be fetched from it: https, or http on this machine, with nothing hidden in it."""
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
        parts.port  # noqa: B018  # raises where it is none
    except ValueError:
        return False
    plain = not (parts.username or parts.password or parts.query or parts.fragment)
    return plain and bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)))


_MAIL_ADDRESS = re.compile(
    r"(?=.{3,254}\Z)[A-Za-z0-9_+=~'-]+(?:\.[A-Za-z0-9_+=~'-]+)*@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*"
    r"[A-Za-z][A-Za-z0-9-]{0,61}[A-Za-z0-9]"
)


def is_mail_address(text: str) -> bool:
    """Whether it is a mail address in the plain form (RFC 5321 dot-string and domain), with nothing that a header or
    a command of SMTP could take for more.
    """
    return _MAIL_ADDRESS.fullmatch(text) is not None and len(text.partition("@")[0]) <= 64


@lru_cache
def get_settings() -> Settings:
    return Settings()


__all__ = ["REPOSITORY", "Settings", "get_settings", "is_loopback", "is_mail_address", "is_safe_address"]
