import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from everloop.cli import answers, names
from everloop.cli.errors import UsageError
from everloop.dev.layout import DataDir
from everloop.dev.lock import DevLock
from everloop.dev.state import DevState, Phase, ProcessState, save
from tests.client.scripted_api import (
    HARNESS,
    ScriptedApi,
    call_message,
    result_message,
    serve,
    text_message,
)
from tests.everloop_command import run_everloop

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def api() -> Iterator[ScriptedApi]:
    with serve() as running:
        yield running


@pytest.fixture
def run(cli_env: dict[str, str], tmp_path: Path) -> Run:
    def invoke(*words: str, said: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        return run_everloop(*words, env=cli_env | env, cwd=tmp_path, said=said)

    return invoke


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[DataDir]:
    """A data directory whose supervisor, as far as anyone can see, is this process."""
    data = DataDir.at(tmp_path / ".everloop")
    data.create()
    state = DevState(
        pid=os.getpid(),
        phase=Phase.READY,
        region="eu-west-1",
        addresses={"api": "http://127.0.0.1:9", "temporal_ui": "http://127.0.0.1:8"},
        processes=(ProcessState(name="worker", pid=5, phase=Phase.READY, restarts=2, log="l"),),
    )
    with DevLock(data):
        save(data, state)
        yield data


def test_help_needs_no_heavy_import() -> None:
    script = (
        "import sys; import everloop.cli.app;"
        "heavy = {'boto3', 'botocore', 'temporalio', 'rich.table'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_package_itself_stays_light() -> None:
    script = (
        "import sys; import everloop;"
        "heavy = {'boto3', 'typer', 'rich', 'everloop.cli.app'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_version_is_that_of_the_package(run: Run) -> None:
    assert run("--version").stdout == f"everloop {version('everloop')}\n"


def test_status_of_nothing_is_exit_code_3(run: Run) -> None:
    done = run("status")
    assert done.returncode == 3 and "does not run" in done.stderr and not done.stdout
    done = run("status", "--json")
    assert done.returncode == 3 and json.loads(done.stdout)["running"] is False


def test_status_shows_processes(run: Run, dev: DataDir) -> None:
    done = run("status")
    assert done.returncode == 0
    assert done.stdout.splitlines()[2].split() == ["worker", "ready", "5", "2"]
    said = json.loads(run("status", "--json").stdout)
    assert said["running"] is True and said["pid"] == os.getpid()
    assert said["processes"][0]["restarts"] == 2


def test_env_can_be_evaluated(run: Run, dev: DataDir, cli_env: dict[str, str]) -> None:
    assignments = run("env").stdout
    shell = subprocess.run(
        ["sh", "-c", f"{assignments}\nenv"],
        env=cli_env | {"AWS_PROFILE": "work", "AWS_SESSION_TOKEN": "t"},
        capture_output=True,
        text=True,
        check=True,
    )
    got = dict(line.split("=", 1) for line in shell.stdout.splitlines() if line.startswith("AWS_"))
    assert got["AWS_ENDPOINT_URL_BEDROCK_AGENTCORE"] == "http://127.0.0.1:9"
    assert got["AWS_ENDPOINT_URL_BEDROCK_AGENTCORE_CONTROL"] == "http://127.0.0.1:9"
    assert got["AWS_REGION"] == got["AWS_DEFAULT_REGION"] == "eu-west-1"
    assert got["AWS_ACCESS_KEY_ID"] == "everloop-dev" and got["AWS_SECRET_ACCESS_KEY"]
    assert "AWS_PROFILE" not in got and "AWS_SESSION_TOKEN" not in got


def test_env_speaks_fish(run: Run, dev: DataDir) -> None:
    lines = run("env", "--shell", "fish").stdout.splitlines()
    assert "set -e AWS_PROFILE;" in lines
    assert "set -gx AWS_REGION eu-west-1;" in lines


def test_env_without_dev_is_an_error(run: Run) -> None:
    done = run("env")
    assert done.returncode == 1 and not done.stdout and "start it first" in done.stderr


def test_a_second_dev_is_refused(run: Run, dev: DataDir) -> None:
    done = run("dev", "--port", "0")
    assert done.returncode == 1
    assert f"already runs on {dev.root} (pid {os.getpid()})" in done.stderr


def test_without_an_api_the_message_says_what_to_do(run: Run) -> None:
    done = run("list")
    assert done.returncode == 1
    assert "everloop dev does not run" in done.stderr and "--endpoint-url" in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_api_that_does_not_answer_is_named(run: Run) -> None:
    done = run("get", "helper-abcdefghij", "--endpoint-url", "http://127.0.0.1:1")
    assert done.returncode == 1
    assert "cannot reach the API at http://127.0.0.1:1" in done.stderr


def test_the_api_is_found_by_environment(run: Run, api: ScriptedApi) -> None:
    done = run("list", "--json", AWS_ENDPOINT_URL_BEDROCK_AGENTCORE_CONTROL=api.url)
    assert json.loads(done.stdout)["harnesses"][0]["harnessName"] == "helper"


def test_a_creation_that_fails_is_an_error_with_its_reason(run: Run, api: ScriptedApi) -> None:
    api.answered = {"status": "CREATING"}
    api.shown = {"status": "CREATE_FAILED", "failureReason": "the tool 'web' is not served"}
    asked = ("create", "--name", "helper", "--model", "demo/scripted", "--endpoint-url", api.url)
    failed = run(*asked)
    assert failed.returncode == 1
    assert "helper is CREATE_FAILED: the tool 'web' is not served" in failed.stderr
    hasty = run(*asked, "--no-wait")
    assert hasty.returncode == 0 and "created helper (CREATING)" in hasty.stdout


def test_list_get_and_delete(run: Run, api: ScriptedApi) -> None:
    assert HARNESS["harnessId"] in run("list", "--endpoint-url", api.url).stdout
    got = run("get", "helper", "--endpoint-url", api.url)
    assert HARNESS["arn"] in got.stdout and got.returncode == 0
    gone = run("delete", "helper", "--endpoint-url", api.url)
    assert gone.stdout == "deleted helper (helper-abcdefghij)\n"
    assert "DELETE" in [request[0] for request in api.requests]
    assert api.requests[-1][1].startswith("/harnesses/helper-abcdefghij")
    missing = run("get", "stranger", "--endpoint-url", api.url)
    assert missing.returncode == 1 and "ResourceNotFoundException" in missing.stderr


def test_create_sends_what_was_said(run: Run, api: ScriptedApi, tmp_path: Path) -> None:
    function = {"name": "ask", "description": "Ask.", "inputSchema": {"type": "object"}}
    (tmp_path / "ask.json").write_text(json.dumps(function))
    done = run(
        *("create", "--name", "helper", "--endpoint-url", api.url, "--model", "demo/scripted"),
        *("--system-prompt", "Be brief.", "--inline-function", "ask.json"),
        *("--allowed-tool", "shell", "--allowed-tool", "@ask", "--max-iterations", "5"),
    )
    assert done.returncode == 0 and "helper-abcdefghij" in done.stdout
    body = api.requests[-1][3]
    assert body["model"] == {"liteLlmModelConfig": {"modelId": "demo/scripted"}}
    assert body["systemPrompt"] == [{"text": "Be brief."}]
    assert body["allowedTools"] == ["shell", "@ask"]
    assert body["maxIterations"] == 5
    assert body["tools"][0]["config"]["inlineFunction"]["inputSchema"] == {"type": "object"}


def test_create_without_any_model_to_call_offers_the_demo_model(run: Run, api: ScriptedApi) -> None:
    words = ("create", "--name", "helper", "--endpoint-url", api.url)
    done = run(*words)
    assert done.returncode == 2 and "--model demo/scripted" in done.stderr
    assert not api.requests
    assert run(*words, "--model-provider", "bedrock").returncode == 0
    assert run(*words, OPENAI_API_KEY="k").returncode == 0
    assert run(*words, AWS_ACCESS_KEY_ID="k", AWS_SECRET_ACCESS_KEY="s").returncode == 0
    assert "model" not in api.requests[-1][3]


def test_create_refuses_a_tool_file_that_holds_none(
    run: Run, api: ScriptedApi, tmp_path: Path
) -> None:
    (tmp_path / "tools.json").write_text("[1]")
    words = ("create", "--name", "x", "--model", "demo/scripted", "--endpoint-url", api.url)
    done = run(*words, "--tool-file", "tools.json")
    assert done.returncode == 2 and "tools.json" in done.stderr and not api.requests


def test_an_error_of_the_api_is_one_line_with_its_name(run: Run, api: ScriptedApi) -> None:
    api.refusals.append((409, "ConflictException", "helper exists"))
    done = run("create", "--name", "x", "--model", "demo/scripted", "--endpoint-url", api.url)
    assert (done.returncode, done.stderr) == (1, "error: ConflictException: helper exists\n")


def test_a_request_that_cannot_be_is_a_usage_error(run: Run, api: ScriptedApi) -> None:
    done = run("get", "no good name", "--endpoint-url", api.url)
    assert done.returncode == 2
    assert run("create", "--endpoint-url", api.url).returncode == 2
    assert run("invoke", "helper", "", "--endpoint-url", api.url).returncode == 2


def test_invoke_shows_a_turn(run: Run, api: ScriptedApi) -> None:
    api.streams.append(
        [
            *call_message(("t1", "shell", {"command": "date"})),
            *result_message(("t1", "success", ["Mon", "day"])),
            *text_message("It is ", "Monday."),
        ]
    )
    done = run("invoke", "helper", "What day?", "--endpoint-url", api.url)
    assert done.returncode == 0
    assert done.stdout == (
        "▸ shell\n  │ command: date\n◂ result\n  │ Monday\nIt is Monday.\n"
        "— end_turn · 20 tokens in, 10 out · 2 model calls\n"
    )
    ((headers, body),) = api.invocations
    assert body["messages"] == [{"role": "user", "content": [{"text": "What day?"}]}]
    session = headers["x-amzn-bedrock-agentcore-runtime-session-id"]
    assert done.stderr == f"session {session}\n" and len(session) >= 33
    assert headers["x-everloop-invocation-id"]


def test_invoke_reads_standard_input_and_prints_raw_events(run: Run, api: ScriptedApi) -> None:
    events = text_message("Hi", ".")
    api.streams.append(events)
    words = (
        "invoke",
        HARNESS["arn"],
        "--json",
        "--session-id",
        "monday",
        "--endpoint-url",
        api.url,
    )
    done = run(*words, "--invocation-id", "once", said="Hello\n")
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {name: body} for name, body in events
    ]
    ((headers, body),) = api.invocations
    assert body["messages"][0]["content"] == [{"text": "Hello\n"}]
    assert headers["x-amzn-bedrock-agentcore-runtime-session-id"] == names.session_id("monday")
    assert headers["x-everloop-invocation-id"] == "once"
    # An ARN needs no other call.
    assert len(api.requests) == 1


def test_invoke_says_how_to_answer_where_nobody_can_be_asked(run: Run, api: ScriptedApi) -> None:
    api.streams.append(call_message(("t1", "ask", {"question": "Go?"})))
    words = ("invoke", "helper", "--endpoint-url", api.url, "--session-id", "monday")
    done = run(*words, "Ask.")
    assert done.returncode == 0
    assert "question: Go?" in done.stdout
    session = names.session_id("monday")
    assert f"everloop invoke helper --session-id {session} --answer t1=y" in done.stderr


def test_invoke_sends_answers(run: Run, api: ScriptedApi) -> None:
    api.streams.append(text_message("Thanks."))
    words = ("invoke", "helper", "--endpoint-url", api.url, "--session-id", "monday")
    done = run(*words, "--answer", "t1=y", "--answer", "t2=maybe=later")
    assert done.returncode == 0
    (message,) = api.invocations[0][1]["messages"]
    sent = [block["toolResult"] for block in message["content"]]
    assert [(one["toolUseId"], one["content"], one["status"]) for one in sent] == [
        ("t1", [{"text": answers.YES}], "success"),
        ("t2", [{"text": "maybe=later"}], "success"),
    ]


def test_answers_need_a_session_and_a_form(run: Run, api: ScriptedApi) -> None:
    words = ("invoke", "helper", "--endpoint-url", api.url)
    assert run(*words, "--answer", "t1=y").returncode == 2
    assert run(*words, "--session-id", "s", "--answer", "t1").returncode == 2
    assert run(*words, "text", "--session-id", "s", "--answer", "t1=y").returncode == 2
    assert not api.invocations


def test_invoke_asks_at_a_terminal(
    api: ScriptedApi, everloop: tuple[str, ...], cli_env: dict[str, str], tmp_path: Path
) -> None:
    api.streams += [
        call_message(("t1", "ask", {"question": "Go?"})),
        [*result_message(("t1", "success", [answers.NO])), *call_message(("t2", "ask", {}))],
        text_message("Well then."),
    ]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*everloop, "invoke", "helper", "Ask.", "--endpoint-url", api.url],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=cli_env,
        cwd=tmp_path,
    )
    os.close(theirs)
    os.write(ours, b"n\nnot today\n")
    said = _read_all(ours)
    assert process.wait(timeout=60) == 0, said
    assert "ask waits for you:" in said and "Well then." in said
    sent = [body["messages"][0]["content"][0]["toolResult"] for _, body in api.invocations[1:]]
    assert [(one["toolUseId"], one["content"][0]["text"]) for one in sent] == [
        ("t1", answers.NO),
        ("t2", "not today"),
    ]
    assert len({headers["x-everloop-invocation-id"] for headers, _ in api.invocations}) == 3


def test_an_exception_in_the_stream_fails_the_command(run: Run, api: ScriptedApi) -> None:
    end = ("exception:runtimeClientError", {"message": "no such model"})
    api.streams.append([*text_message("Hm")[:2], end])
    done = run("invoke", "helper", "Hi", "--endpoint-url", api.url)
    assert done.returncode == 1 and done.stdout.startswith("Hm")
    assert "error: RuntimeClientError: no such model\n" in done.stderr


def test_an_error_sent_as_an_event_fails_the_command(run: Run, api: ScriptedApi) -> None:
    # botocore gives such an event without its message.
    api.streams.append([("runtimeClientError", {"message": "no such model"})])
    done = run("invoke", "helper", "Hi", "--endpoint-url", api.url)
    assert done.returncode == 1 and "error: RuntimeClientError" in done.stderr


def test_a_broken_stream_is_attached_to_again(run: Run, api: ScriptedApi) -> None:
    api.streams += [
        [*text_message("One, t")[:2], ("cut", {})],
        text_message("One, two", ", three."),
    ]
    done = run("invoke", "helper", "Count.", "--endpoint-url", api.url)
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == "One, two, three."
    keys = [headers["x-everloop-invocation-id"] for headers, _ in api.invocations]
    assert len(keys) == 2 and len(set(keys)) == 1


def test_a_broken_raw_stream_says_how_to_attach_again(run: Run, api: ScriptedApi) -> None:
    api.streams.append([*text_message("One")[:2], ("cut", {})])
    done = run("invoke", "helper", "Count.", "--json", "--endpoint-url", api.url)
    assert done.returncode == 1
    key = api.invocations[0][0]["x-everloop-invocation-id"]
    assert f"--invocation-id {key}" in done.stderr and "broke off" in done.stderr


def test_short_session_names_are_padded_always_the_same_way() -> None:
    assert names.session_id("monday") == names.session_id("monday")
    assert len(names.session_id("monday")) == names.SESSION_MIN
    assert names.session_id("x" * 40) == "x" * 40
    assert names.session_id("a") != names.session_id("a-0")
    for wrong in ("-x", "a b", "x" * 101, ""):
        with pytest.raises(UsageError):
            names.session_id(wrong)


def test_the_command_is_installed() -> None:
    assert shutil.which("everloop", path=str(Path(sys.executable).parent))


def _read_all(terminal: int) -> str:
    collected = b""
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:
            break
        if not piece:
            break
        collected += piece
    os.close(terminal)
    return collected.decode()


def test_a_bearer_token_takes_the_place_of_a_signature(run: Run, api: ScriptedApi) -> None:
    api.streams += [text_message("Hi"), text_message("Hi")]
    words = ("invoke", HARNESS["arn"], "Hello", "--endpoint-url", api.url)
    assert run(*words, EVERLOOP_BEARER_TOKEN="secret").returncode == 0
    assert run(*words, "--bearer-token", "other").returncode == 0
    sent = [headers["authorization"] for headers, _ in api.invocations]
    assert sent == ["Bearer secret", "Bearer other"]
    assert all("x-amz-date" not in headers for headers, _ in api.invocations)
    # With an ARN nothing is asked of the control plane, which takes no tokens.
    assert len(api.requests) == 2


def test_a_bearer_token_does_not_travel_in_the_clear(run: Run) -> None:
    words = ("invoke", HARNESS["arn"], "Hello", "--endpoint-url", "http://192.0.2.1:9")
    done = run(*words, EVERLOOP_BEARER_TOKEN="secret")
    assert done.returncode == 2 and "use https" in done.stderr
    assert "secret" not in done.stdout + done.stderr
