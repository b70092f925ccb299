"""Every operation of both services: what botocore sends we read, what we write botocore reads."""

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from api import eventstream
from api.handlers import HANDLERS
from api.model import wire_model
from api.parse import parse
from api.serialise import serialise, to_json
from api.validate import validate
from contracts.faults import Faults
from tests.api.oracle import (
    OPERATIONS,
    operation_model,
    parsed_answer,
    read_events,
    request_of,
    values,
)

#: Few examples each: there are 250 operations, and the fixed seed makes every run the same.
FEW = settings(
    max_examples=4,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.filter_too_much),
)
#: The same code reads and writes them all; those that no handler serves are for `make thorough`.
EACH = [
    pytest.param(*operation, marks=() if operation in HANDLERS else pytest.mark.thorough)
    for operation in OPERATIONS
]
EVENT_STREAMS = ["InvokeHarness", "InvokeAgentRuntimeCommand", "InvokeCodeInterpreter"]


def test_serves_every_operation_of_both_services_on_its_own_route():
    assert sorted(wire_model().operations) == sorted(OPERATIONS)
    assert len(OPERATIONS) == 250


@pytest.mark.wire("invoke.form", "invoke.content", "error.constraints")
@pytest.mark.parametrize(("service", "name"), EACH)
def test_reads_what_botocore_sends(service: str, name: str):
    shape = operation_model(service, name).input_shape
    nothing: dict[str, Any] = {}

    @FEW
    @given(values(service, shape.name) if shape is not None else st.just(nothing))
    def check(params: dict[str, Any]) -> None:
        request = request_of(service, name, params)
        route = wire_model().route(request.method, request.raw_path, request.query)
        assert route is not None
        assert (route.operation.service, route.operation.name) == (service, name)
        faults = Faults()
        read = parse(route.operation.input, route.labels, request, (), faults)
        validate(route.operation.input, read, faults)
        faults.raise_if_any()
        if "content-type" in request.headers and "contentType" not in params:
            # botocore fills in the header itself.
            read.pop("contentType", None)
        assert read == params

    check()


@pytest.mark.parametrize(("service", "name"), EACH)
def test_botocore_reads_what_is_written(service: str, name: str):
    model = operation_model(service, name)
    if model.output_shape is None or name in EVENT_STREAMS:
        pytest.skip("has no plain answer")
    operation = wire_model().operations[service, name]

    @FEW
    @given(values(service, model.output_shape.name))
    def check(result: dict[str, Any]) -> None:
        answer = serialise(operation.output, operation.status, result)
        parsed = parsed_answer(service, name, answer)
        if model.has_streaming_output:
            parsed.pop("response", None)
            assert answer.body == result.pop("response", b"")
        if "statusCode" in parsed and "statusCode" not in result:
            del parsed["statusCode"]
        assert parsed == result

    check()


@pytest.mark.wire("stream.form")
@pytest.mark.parametrize("name", EVENT_STREAMS)
def test_botocore_reads_every_event(name: str):
    operation = wire_model().operations["bedrock-agentcore", name]
    assert operation.output is not None and operation.output.payload is not None
    union = operation.output.members[operation.output.payload].shape
    names = [name for name, member in union.members.items() if member.shape.http_status is None]
    shapes = {name: union.members[name].shape for name in names}
    events = st.one_of(
        *(
            st.tuples(st.just(each), values("bedrock-agentcore", shapes[each].name))
            for each in names
        )
    )

    @settings(FEW, max_examples=60)
    @given(st.lists(events, max_size=4))
    def check(told: list[tuple[str, dict[str, Any]]]) -> None:
        data = b"".join(
            eventstream.event(each, to_json(shapes[each], payload)) for each, payload in told
        )
        read = read_events("bedrock-agentcore", name, data)
        assert read == [{each: payload} for each, payload in told]

    check()
