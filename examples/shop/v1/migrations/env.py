"""Runs the migrations on DATABASE_URL, all of them in one transaction."""

import logging.config
import os
import sys
import time

import sqlalchemy
from alembic import context
from shop import journal

VERSION = os.environ.get("SHOP_VERSION", "unknown")

if context.config.config_file_name is not None:
    logging.config.fileConfig(context.config.config_file_name)


def migrate() -> None:
    engine = sqlalchemy.create_engine(os.environ["DATABASE_URL"], poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=None)
        with context.begin_transaction():
            context.run_migrations()


journal.log_migration(VERSION, "start")
time.sleep(float(os.environ.get("MIGRATION_PAUSE_SECONDS", "0")))  # time to look at a hold, in a demo
try:
    migrate()
except sqlalchemy.exc.DBAPIError as error:
    journal.log_migration(VERSION, "failed")
    # One line instead of a stack: it becomes the Job's termination message and the status's text.
    sys.exit(f"the migration to {VERSION} failed: {' '.join(str(error.orig).split())}")
journal.log_migration(VERSION, "end")
