"""`python -m store.migrate`: bring the configured database's schema up to date."""

import argparse
import os

from contracts.settings import Settings
from store.migrate import migrate

argparse.ArgumentParser(
    prog="python -m store.migrate",
    description="Bring the schema of the database that EVERLOOP_DATABASE_URL names up to date.",
).parse_args()
migrate(Settings.from_env(os.environ).database_url)
