"""The journal's tables: `records`, a hash chain that only grows, and what it says, for reading."""

from sqlalchemy import Column, Float, Integer, MetaData, String, Table, Text

SCHEMA = 1

metadata = MetaData()

records = Table(
    "records",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("time", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("site", String, nullable=False),
    Column("operation", String, nullable=False, index=True),
    Column("body", Text, nullable=False),
    Column("previous", String, nullable=False),
    Column("hash", String, nullable=False),
)

# Where the chain ends. A chain that is shorter than this lost its tail; locking this row puts writers in one line.
head = Table(
    "head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", Integer, nullable=False),
    Column("hash", String, nullable=False),
)

operations = Table(
    "operations",
    metadata,
    Column("id", String, primary_key=True),
    Column("site", String, nullable=False, index=True),
    Column("verb", String, nullable=False),
    Column("plan", Text, nullable=False),
    Column("plan_hash", String, nullable=False),
    Column("state", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("message", Text, nullable=False),
    Column("remains", Text, nullable=False),
    Column("origin", String, nullable=False),
    Column("parent", String),
    Column("version", String, nullable=False),
    Column("site_file", Text, nullable=False),
    Column("created", String, nullable=False),
    Column("updated", String, nullable=False),
)

steps = Table(
    "steps",
    metadata,
    Column("operation", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("action", String, nullable=False),
    Column("site", String, nullable=False),
    Column("state", String, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("deaths", Integer, nullable=False),
    Column("effects", Integer, nullable=False),
    Column("started", String),
    Column("ended", String),
    Column("intent", String),
    Column("deadline", Float),
    Column("handle", Text),
    Column("evidence", Text),
    Column("message", Text, nullable=False),
)

locks = Table(
    "locks",
    metadata,
    Column("site", String, primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("operation", String, nullable=False),
    Column("holder", Text, nullable=False),
    Column("renewed", Float, nullable=False),
)

freezes = Table(
    "freezes",
    metadata,
    Column("site", String, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("by", String, nullable=False),
    Column("since", String, nullable=False),
)

approvals = Table(
    "approvals",
    metadata,
    Column("operation", String, primary_key=True),
    Column("plan_hash", String, primary_key=True),
    Column("by", String, primary_key=True),
    Column("at", String, nullable=False),
    Column("reason", Text, nullable=False),
)

stops = Table(
    "stops",
    metadata,
    Column("operation", String, primary_key=True),
    Column("by", String, nullable=False),
    Column("at", String, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("operation", String, primary_key=True),
    Column("run", String, primary_key=True),
)
