"""The operations that are served, by service and name; every other one answers 501."""

from api.context import Handler
from api.handlers.harnesses import (
    create_harness,
    delete_harness,
    get_harness,
    list_harness_versions,
    list_harnesses,
    update_harness,
)
from api.handlers.invoke import invoke_harness
from api.model import CONTROL, DATA

HANDLERS: dict[tuple[str, str], Handler] = {
    (CONTROL, "CreateHarness"): create_harness,
    (CONTROL, "GetHarness"): get_harness,
    (CONTROL, "ListHarnesses"): list_harnesses,
    (CONTROL, "ListHarnessVersions"): list_harness_versions,
    (CONTROL, "UpdateHarness"): update_harness,
    (CONTROL, "DeleteHarness"): delete_harness,
    (DATA, "InvokeHarness"): invoke_harness,
}
