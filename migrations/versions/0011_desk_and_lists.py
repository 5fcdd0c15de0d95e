"""The officer's desk with its ledger, clue lists, several sources of a case, and links between cases"""

import geoalchemy2
import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

APPLICATION = "redline_app"
# Tables with `unit_ids` of their own, and tables that are seen with the row they hang on.
PLACED = ("clue_lists", "clue_items")
HANGING = {
    "review_events": ("detection_id", "detections"),
    "review_audits": ("detection_id", "detections"),
    "case_sources": ("case_id", "cases"),
    "case_links": ("case_id", "cases"),
}
# Written once.
KEPT = ("review_events",)
# As in 0004.
VISIBLE = """
    (select current_setting('redline.scope', true)) = 'all'
    or ((select current_setting('redline.scope', true)) = 'units'
        and unit_ids && (select nullif(current_setting('redline.units', true), '')::uuid[]))
"""
# The same of what is read in long lists, in words that the planner takes to hide half of the rows and not nearly all:
# it reads an index in the order that is asked for, instead of sorting a whole jurisdiction for its first page.
READ_IN_ORDER = ("detections", "cases")
VISIBLE_IN_ORDER = """
    case (select current_setting('redline.scope', true))
        when 'all' then true
        when 'units' then unit_ids && (select nullif(current_setting('redline.units', true), '')::uuid[])
        else false
    end
"""
REVIEW_STATES = ("new", "reviewing", "dismissed", "authorised", "linked", "dispatched")
MORE_REVIEW_STATES = ("dismissal_proposed", "authorisation_proposed", "merged", "split")
# In the order in which the models have them.
ALL_REVIEW_STATES = (
    "new",
    "reviewing",
    "dismissal_proposed",
    "authorisation_proposed",
    "dismissed",
    "authorised",
    "linked",
    "dispatched",
    "merged",
    "split",
)
SOURCES = (
    "satellite_monitoring",
    "green_shield",
    "central_inspection_1",
    "central_inspection_1_look_back",
    "central_inspection_2",
    "provincial_inspection",
    "provincial_inspection_look_back",
    "grand_survey",
    "national_platform",
    "forest_inspection",
    "public_report",
    "media",
    "routine_patrol",
)
DISMISS_REASONS = (
    "cloud",
    "shadow",
    "snow",
    "phenology",
    "water_level",
    "crop",
    "fire",
    "misregistration",
    "other",
)
OUTCOMES = (
    "upheld",
    "overturned",
)
LINK_KINDS = (
    "split_from",
    "new_offender",
    "merged_into",
)
OUTLINES = (
    "drawn",
    "circle",
)
CLUE_STATES = (
    "pending",
    "opened",
    "linked",
    "rejected",
)
ORIGINS = (
    "detection",
    "clue_list",
    "report",
    "split",
    "new_offender",
    "imported",
)
LEVELS = (
    "ordinary",
    "prefecture",
    "province",
)
# Orders of the work queue.
QUEUE = {
    "ix_detections_by_severity": "(case severity when 'high' then 3 when 'medium' then 2 when 'low' then 1 else 0 end)",
    "ix_detections_by_confidence": "(case confidence when 'high' then 1 else 0 end)",
    "ix_detections_by_area": "area_m2",
    "ix_detections_by_age": "first_seen_on",
}


def _choice(name: str, values: tuple[str, ...]) -> sa.Enum:
    return sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=40)


def upgrade() -> None:
    _tables()
    _columns()
    _review_states((*REVIEW_STATES, *MORE_REVIEW_STATES))
    _sources_of_cases()
    _walls()
    op.execute("alter table ledger_head drop constraint ck_ledger_head_one_row")
    op.execute("insert into ledger_head (id, sequence, recorded_at) values (2, 0, '1970-01-01T00:00:00Z')")
    op.execute("alter table ledger_head add constraint ck_ledger_head_two_rows check (id in (1, 2))")


def _tables() -> None:
    op.create_table(
        "clue_lists",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("source", _choice("source", SOURCES), nullable=False),
        sa.Column("round", sa.Text(), nullable=True),
        sa.Column("due_on", sa.Date(), nullable=True),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("layout", postgresql.JSON(astext_type=sa.Text()), nullable=False),
        sa.Column("mapping", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("uploaded_by", sa.Uuid(), nullable=False),
        sa.Column("uploaded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("unit_ids", postgresql.ARRAY(sa.UUID()), nullable=False),
        sa.ForeignKeyConstraint(["uploaded_by"], ["accounts.id"], name=op.f("fk_clue_lists_uploaded_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clue_lists")),
    )
    op.create_index("ix_clue_lists_unit_ids", "clue_lists", ["unit_ids"], unique=False, postgresql_using="gin")
    op.create_table(
        "review_audits",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("detection_id", sa.Uuid(), nullable=False),
        sa.Column("review_version", sa.Integer(), nullable=False),
        sa.Column("reason", _choice("reason", DISMISS_REASONS), nullable=False),
        sa.Column("dismissed_by", sa.Uuid(), nullable=False),
        sa.Column("drawn_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("outcome", _choice("outcome", OUTCOMES), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("decided_by", sa.Uuid(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["decided_by"], ["accounts.id"], name=op.f("fk_review_audits_decided_by")),
        sa.ForeignKeyConstraint(["detection_id"], ["detections.id"], name=op.f("fk_review_audits_detection_id")),
        sa.ForeignKeyConstraint(["dismissed_by"], ["accounts.id"], name=op.f("fk_review_audits_dismissed_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_review_audits")),
        sa.UniqueConstraint(
            "detection_id", "review_version", name=op.f("uq_review_audits_detection_id_review_version")
        ),
    )
    op.create_index(
        "uq_review_audits_open",
        "review_audits",
        ["detection_id"],
        unique=True,
        postgresql_where=sa.text("outcome IS NULL"),
    )
    op.create_table(
        "review_events",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("detection_id", sa.Uuid(), nullable=False),
        sa.Column("detection_sequence", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=False),
        sa.Column("actor_role", sa.Text(), nullable=False),
        sa.Column("actor_unit_id", sa.Uuid(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state_before", _choice("state_before", ALL_REVIEW_STATES), nullable=False),
        sa.Column("state_after", _choice("state_after", ALL_REVIEW_STATES), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("payload", postgresql.JSON(astext_type=sa.Text()), nullable=False),
        sa.Column("previous_hash", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["actor_id"], ["accounts.id"], name=op.f("fk_review_events_actor_id")),
        sa.ForeignKeyConstraint(["actor_unit_id"], ["units.id"], name=op.f("fk_review_events_actor_unit_id")),
        sa.ForeignKeyConstraint(["detection_id"], ["detections.id"], name=op.f("fk_review_events_detection_id")),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_review_events")),
        sa.UniqueConstraint(
            "detection_id", "detection_sequence", name=op.f("uq_review_events_detection_id_detection_sequence")
        ),
        sa.UniqueConstraint("id", name=op.f("uq_review_events_id")),
    )
    op.create_index("ix_review_events_recorded_at", "review_events", ["recorded_at"], unique=False)
    op.create_table(
        "case_links",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("other_case_id", sa.Uuid(), nullable=False),
        sa.Column("kind", _choice("kind", LINK_KINDS), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_case_links_case_id")),
        sa.ForeignKeyConstraint(["other_case_id"], ["cases.id"], name=op.f("fk_case_links_other_case_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_case_links")),
        sa.UniqueConstraint("case_id", "other_case_id", "kind", name=op.f("uq_case_links_case_id_other_case_id_kind")),
    )
    op.create_index("ix_case_links_other_case_id", "case_links", ["other_case_id"], unique=False)
    op.create_table(
        "clue_items",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("list_id", sa.Uuid(), nullable=False),
        sa.Column("row_number", sa.Integer(), nullable=False),
        sa.Column("values", postgresql.JSON(astext_type=sa.Text()), nullable=False),
        sa.Column("item_number", sa.Text(), nullable=True),
        sa.Column(
            "geom",
            geoalchemy2.types.Geometry(
                geometry_type="MULTIPOLYGON",
                srid=4490,
                dimension=2,
                spatial_index=False,
                from_text="ST_GeomFromEWKT",
                name="geometry",
            ),
            nullable=True,
        ),
        sa.Column("outline", _choice("outline", OUTLINES), nullable=True),
        sa.Column("area_m2", sa.Double(), nullable=True),
        sa.Column("lead_unit_id", sa.Uuid(), nullable=True),
        sa.Column("facts", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("corrections", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("problems", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("state", _choice("state", CLUE_STATES), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("decided_by", sa.Uuid(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("unit_ids", postgresql.ARRAY(sa.UUID()), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_clue_items_case_id")),
        sa.ForeignKeyConstraint(["decided_by"], ["accounts.id"], name=op.f("fk_clue_items_decided_by")),
        sa.ForeignKeyConstraint(["lead_unit_id"], ["units.id"], name=op.f("fk_clue_items_lead_unit_id")),
        sa.ForeignKeyConstraint(["list_id"], ["clue_lists.id"], name=op.f("fk_clue_items_list_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clue_items")),
        sa.UniqueConstraint("list_id", "row_number", name=op.f("uq_clue_items_list_id_row_number")),
    )
    op.create_index("ix_clue_items_case_id", "clue_items", ["case_id"], unique=False)
    op.create_index("ix_clue_items_geom", "clue_items", ["geom"], unique=False, postgresql_using="gist")
    op.create_index("ix_clue_items_item_number", "clue_items", ["item_number"], unique=False)
    op.create_index("ix_clue_items_unit_ids", "clue_items", ["unit_ids"], unique=False, postgresql_using="gin")
    op.create_table(
        "case_sources",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("case_id", sa.Uuid(), nullable=False),
        sa.Column("source", _choice("source", SOURCES), nullable=False),
        sa.Column("round", sa.Text(), nullable=True),
        sa.Column("item_number", sa.Text(), nullable=True),
        sa.Column("due_on", sa.Date(), nullable=True),
        sa.Column("is_primary", sa.Boolean(), nullable=False),
        sa.Column("clue_item_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_case_sources_case_id")),
        sa.ForeignKeyConstraint(["clue_item_id"], ["clue_items.id"], name=op.f("fk_case_sources_clue_item_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_case_sources")),
    )
    op.create_index("ix_case_sources_case_id", "case_sources", ["case_id"], unique=False)
    op.create_index("ix_case_sources_item_number", "case_sources", ["item_number"], unique=False)
    op.create_index(
        "uq_case_sources_primary", "case_sources", ["case_id"], unique=True, postgresql_where=sa.text("is_primary")
    )


def _columns() -> None:
    op.add_column(
        "cases",
        sa.Column("origin", _choice("origin", ORIGINS), server_default="detection", nullable=False),
    )
    op.add_column(
        "cases",
        sa.Column("supervision_level", _choice("supervision_level", LEVELS), server_default="ordinary", nullable=False),
    )
    op.add_column("cases", sa.Column("protected_area_level", sa.Text(), nullable=True))
    op.add_column("cases", sa.Column("chain", sa.Text(), server_default="2020-01", nullable=False))
    op.add_column(
        "cases",
        sa.Column("outline", _choice("outline", OUTLINES), server_default="drawn", nullable=False),
    )
    op.add_column("cases", sa.Column("description", sa.Text(), nullable=True))
    op.add_column("cases", sa.Column("reported_on", sa.Date(), nullable=True))
    op.add_column("cases", sa.Column("party_key", sa.Text(), nullable=True))
    op.add_column("cases", sa.Column("party_code", sa.Text(), nullable=True))
    op.create_index("ix_cases_party_key", "cases", ["party_key"], unique=False)
    op.create_index("ix_cases_due", "cases", [sa.text("coalesce(due_on, 'infinity'::date)"), "id"], unique=False)
    rank = sa.text("coalesce(array_position('{urgent,high}'::text[], priority), 3)")
    op.create_index("ix_cases_priority", "cases", [rank, "id"], unique=False)
    op.create_index("ix_cases_party_code", "cases", ["party_code"], unique=False)
    op.add_column("detections", sa.Column("split_from_id", sa.Uuid(), nullable=True))
    op.create_foreign_key(op.f("fk_detections_split_from_id"), "detections", "detections", ["split_from_id"], ["id"])
    op.add_column("reviews", sa.Column("claimed_by", sa.Uuid(), nullable=True))
    op.add_column("reviews", sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("reviews", sa.Column("proposed_by", sa.Uuid(), nullable=True))
    op.add_column("reviews", sa.Column("merged_into_id", sa.Uuid(), nullable=True))
    op.add_column(
        "reviews",
        sa.Column(
            "geom",
            geoalchemy2.types.Geometry(
                geometry_type="MULTIPOLYGON",
                srid=4490,
                dimension=2,
                spatial_index=False,
                from_text="ST_GeomFromEWKT",
                name="geometry",
            ),
            nullable=True,
        ),
    )
    op.add_column("reviews", sa.Column("area_m2", sa.Double(), nullable=True))
    op.add_column("reviews", sa.Column("overlay", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.create_index("ix_reviews_case_id", "reviews", ["case_id"], unique=False)
    op.create_index("ix_reviews_state", "reviews", ["state"], unique=False)
    op.create_index(
        "ix_reviews_claimed_by",
        "reviews",
        ["claimed_by"],
        unique=False,
        postgresql_where=sa.text("claimed_by IS NOT NULL"),
    )
    for name, key in QUEUE.items():
        op.execute(f"create index {name} on detections ({key}, id)")
    op.create_foreign_key(op.f("fk_reviews_proposed_by"), "reviews", "accounts", ["proposed_by"], ["id"])
    op.create_foreign_key(op.f("fk_reviews_merged_into_id"), "reviews", "detections", ["merged_into_id"], ["id"])
    op.create_foreign_key(op.f("fk_reviews_claimed_by"), "reviews", "accounts", ["claimed_by"], ["id"])


def _sources_of_cases() -> None:
    """Each case there is stands in one list, which is its primary one."""
    op.execute("select set_config('redline.scope', 'all', true)")
    op.execute(
        "insert into case_sources (id, case_id, source, is_primary) "
        "select gen_random_uuid(), id, supervision_source, true from cases"
    )
    op.execute(
        "update cases set origin = 'imported' where exists (select 1 from case_events e "
        "where e.case_id = cases.id and e.case_sequence = 1 and e.kind = 'imported')"
    )


def _review_states(values: tuple[str, ...]) -> None:
    listed = ", ".join(f"'{value}'" for value in values)
    op.execute("alter table reviews drop constraint ck_reviews_state")
    op.execute(f"alter table reviews add constraint ck_reviews_state check (state in ({listed}))")


def _walls() -> None:
    for table in (*PLACED, *HANGING):
        op.execute(f"alter table {table} enable row level security")
        op.execute(f"alter table {table} force row level security")
    for table in PLACED:
        op.execute(f"create policy jurisdiction on {table} using ({VISIBLE}) with check ({VISIBLE})")
    for table, (column, parent) in HANGING.items():
        seen = f"exists (select 1 from {parent} p where p.id = {table}.{column})"
        op.execute(f"create policy jurisdiction on {table} using ({seen}) with check ({seen})")
    _policies(VISIBLE_IN_ORDER)
    changing = [table for table in (*PLACED, *HANGING) if table not in KEPT]
    op.execute(f"grant select, insert, update on {', '.join(changing)} to {APPLICATION}")
    op.execute(f"grant select, insert on {', '.join(KEPT)} to {APPLICATION}")
    for table in KEPT:
        op.execute(
            f"create trigger append_only before update or delete on {table} "
            "for each row execute function redline_refuse_change()"
        )
        op.execute(
            f"create trigger append_only_truncate before truncate on {table} "
            "for each statement execute function redline_refuse_change()"
        )


def _policies(seen: str) -> None:
    for table in READ_IN_ORDER:
        op.execute(f"alter policy jurisdiction on {table} using ({seen}) with check ({seen})")


def downgrade() -> None:
    _policies(VISIBLE)
    op.execute("alter table ledger_head drop constraint ck_ledger_head_two_rows")
    op.execute("delete from ledger_head where id = 2")
    op.execute("alter table ledger_head add constraint ck_ledger_head_one_row check (id = 1)")
    # What waits for a second account lies on the desk again; what was merged or cut is dismissed.
    op.execute("select set_config('redline.scope', 'all', true)")
    op.execute("update reviews set state = 'reviewing' where state in ('dismissal_proposed', 'authorisation_proposed')")
    op.execute("update reviews set state = 'dismissed', reason = 'other' where state in ('merged', 'split')")
    _review_states(REVIEW_STATES)
    op.drop_constraint(op.f("fk_reviews_claimed_by"), "reviews", type_="foreignkey")
    op.drop_constraint(op.f("fk_reviews_merged_into_id"), "reviews", type_="foreignkey")
    op.drop_constraint(op.f("fk_reviews_proposed_by"), "reviews", type_="foreignkey")
    for name in QUEUE:
        op.drop_index(name, table_name="detections")
    op.drop_index("ix_reviews_claimed_by", table_name="reviews", postgresql_where=sa.text("claimed_by IS NOT NULL"))
    op.drop_index("ix_reviews_state", table_name="reviews")
    op.drop_index("ix_reviews_case_id", table_name="reviews")
    op.drop_column("reviews", "overlay")
    op.drop_column("reviews", "area_m2")
    op.drop_column("reviews", "geom")
    op.drop_column("reviews", "merged_into_id")
    op.drop_column("reviews", "proposed_by")
    op.drop_column("reviews", "claimed_at")
    op.drop_column("reviews", "claimed_by")
    op.drop_constraint(op.f("fk_detections_split_from_id"), "detections", type_="foreignkey")
    op.drop_column("detections", "split_from_id")
    op.drop_index("ix_cases_priority", table_name="cases")
    op.drop_index("ix_cases_due", table_name="cases")
    op.drop_index("ix_cases_party_key", table_name="cases")
    op.drop_column("cases", "party_key")
    op.drop_index("ix_cases_party_code", table_name="cases")
    op.drop_column("cases", "party_code")
    op.drop_column("cases", "reported_on")
    op.drop_column("cases", "description")
    op.drop_column("cases", "outline")
    op.drop_column("cases", "chain")
    op.drop_column("cases", "protected_area_level")
    op.drop_column("cases", "supervision_level")
    op.drop_column("cases", "origin")
    op.drop_index("uq_case_sources_primary", table_name="case_sources", postgresql_where=sa.text("is_primary"))
    op.drop_index("ix_case_sources_item_number", table_name="case_sources")
    op.drop_index("ix_case_sources_case_id", table_name="case_sources")
    op.drop_table("case_sources")
    op.drop_index("ix_clue_items_unit_ids", table_name="clue_items", postgresql_using="gin")
    op.drop_index("ix_clue_items_item_number", table_name="clue_items")
    op.drop_index("ix_clue_items_geom", table_name="clue_items", postgresql_using="gist")
    op.drop_index("ix_clue_items_case_id", table_name="clue_items")
    op.drop_table("clue_items")
    op.drop_index("ix_case_links_other_case_id", table_name="case_links")
    op.drop_table("case_links")
    op.drop_index("ix_review_events_recorded_at", table_name="review_events")
    op.drop_table("review_events")
    op.drop_index("uq_review_audits_open", table_name="review_audits", postgresql_where=sa.text("outcome IS NULL"))
    op.drop_table("review_audits")
    op.drop_index("ix_clue_lists_unit_ids", table_name="clue_lists", postgresql_using="gin")
    op.drop_table("clue_lists")
