"""Which version a caller is served: that of the endpoint it names, once there is one."""

from sqlalchemy.engine import Connection

from contracts.errors import AwsError, Reason, ServiceError, invalid
from contracts.provisioning import GOING, ResourceStatus
from contracts.records import DEFAULT_ENDPOINT, EndpointRecord, HarnessRecord
from store.endpoints import find_endpoint
from store.harness_rows import fetch, going, record


def serving(connection: Connection, account: str, harness_id: str, qualifier: str) -> HarnessRecord:
    """See `Harnesses.serving`."""
    endpoint = find_endpoint(connection, account, harness_id, qualifier)
    if endpoint.status in GOING:
        raise going(harness_id) if qualifier == DEFAULT_ENDPOINT else _endpoint_going(endpoint)
    newest = record(fetch(connection, account, harness_id, None))
    if newest.status in GOING:
        raise going(harness_id)
    if endpoint.live_version is None:
        raise _not_served(endpoint)
    return record(fetch(connection, account, harness_id, int(endpoint.live_version)))


def _endpoint_going(endpoint: EndpointRecord) -> ServiceError:
    return ServiceError(
        AwsError.NOT_FOUND,
        f"Endpoint {endpoint.name} of harness {endpoint.harness_id} is being deleted.",
    )


def _not_served(endpoint: EndpointRecord) -> ServiceError:
    what = f"Harness {endpoint.harness_id}"
    if endpoint.name != DEFAULT_ENDPOINT:
        what = f"Endpoint {endpoint.name} of harness {endpoint.harness_id}"
    status = ResourceStatus(endpoint.status)
    if status.moves:
        # Nothing was done: SDKs repeat a throttled call by themselves, and find it READY.
        return ServiceError(
            AwsError.THROTTLING, f"{what} is {status}; repeat the call once it is READY."
        )
    why = f": {endpoint.failure_reason}" if endpoint.failure_reason else ""
    return invalid(
        "harnessArn" if endpoint.name == DEFAULT_ENDPOINT else "qualifier",
        f"{what} is {status} and serves no version{why}",
        reason=Reason.RESOURCE_CONFLICT,
    )
