"""Every setting of the service, read from the environment (prefix `REDLINE_`) or `.env`."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

REPOSITORY = Path(__file__).resolve().parents[1]


class Settings(BaseSettings):
    """Settings of one process. Unset database addresses mean the embedded cluster under `data_dir`."""

    model_config = SettingsConfigDict(env_prefix="REDLINE_", env_file=".env", extra="ignore", frozen=True)

    data_dir: Path = Field(Path(".redline"), description="Everything the service keeps on disk by itself")
    database_url: str | None = Field(None, description="Login of the application role (postgresql+psycopg://)")
    database_owner_url: str | None = Field(
        None, description="Login of the role that owns the tables; used by `redline db upgrade` only"
    )
    storage_url: str | None = Field(None, description="Evidence and monitor state, an fsspec address; file://")
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
    sample_dir: Path = Field(REPOSITORY / "sample", description="The sample data of the repository")
    notice_days: int | None = Field(
        None, ge=0, le=365, description="Days of public notice before closure; unset: as the chain of rules says"
    )
    tile_cache_bytes: int = Field(
        32 * 2**20, ge=0, description="Vector tiles of boundary layers that an API process keeps; 0: none"
    )
    max_upload_bytes: int = Field(64 * 2**20, gt=0, description="Largest evidence file, and any other request")
    max_layer_bytes: int = Field(512 * 2**20, gt=0, description="Largest file of a boundary layer sent over HTTP")
    max_unpacked_bytes: int = Field(2**30, gt=0, description="Largest content of an uploaded archive")

    ledger_key: Path | None = Field(
        None, description="Private key that signs the ledger (PEM, mode 0600); unset: made in the data directory"
    )
    seal_dir: Path | None = Field(
        None, description="Where seals are written for others to keep; unset: `seals` in the data directory"
    )

    @field_validator("data_dir", "sample_dir", "ledger_key", "seal_dir")
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

    @property
    def storage(self) -> str:
        """Address of the object storage, a folder of the data directory when nothing else is set."""
        return self.storage_url or (self.data_dir / "storage").as_uri()

    @property
    def signing_key(self) -> Path:
        """The file of the ledger's private key."""
        return self.ledger_key or self.data_dir / "keys" / "ledger.pem"

    @property
    def seals(self) -> Path:
        """The folder of the seals' files."""
        return self.seal_dir or self.data_dir / "seals"


@lru_cache
def get_settings() -> Settings:
    return Settings()


__all__ = ["REPOSITORY", "Settings", "get_settings"]
