"""`everloop invoke`."""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from everloop.cli.definition import (
    AllowedToolOption,
    ApiBaseOption,
    ApiKeyOption,
    Definition,
    InlineFunctionOption,
    MaxIterationsOption,
    MaxTokensOption,
    ModelOption,
    ProviderOption,
    SystemPromptOption,
    TimeoutOption,
    ToolFileOption,
)
from everloop.cli.options import (
    DEFAULT_DATA_DIR,
    DataDirOption,
    EndpointOption,
    HarnessArgument,
    RegionOption,
    examples,
)

if TYPE_CHECKING:
    from everloop.cli.aws import Json
    from everloop.cli.connection import Connection
    from everloop.cli.converse import Conversation

TextArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[TEXT]", help="What to say; standard input when left out.", show_default=False
    ),
]
SessionOption = Annotated[
    str | None,
    typer.Option(
        "--session-id",
        metavar="ID",
        help="The session to go on with or to begin; short names are padded to 33 characters. "
        "A new one is made and printed when left out.",
    ),
]
InvocationOption = Annotated[
    str | None,
    typer.Option(
        "--invocation-id",
        metavar="ID",
        help="Idempotency key: the same key attaches to the same invocation again.",
    ),
]
BearerOption = Annotated[
    str | None,
    typer.Option(
        "--bearer-token",
        envvar="EVERLOOP_BEARER_TOKEN",
        show_envvar=True,
        metavar="JWT",
        help="Token for a harness with an authorizer, in the place of a signature. Better given "
        "in the environment: options show in lists of processes.",
    ),
]
AnswerOption = Annotated[
    list[str] | None,
    typer.Option(
        "--answer",
        metavar="TOOL_USE_ID=TEXT",
        help="Answer a call that waits: y, n, or any text or JSON. May be repeated.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        "invoke",
        help="Run a harness and show text, tool calls and results as they happen.",
        epilog=examples(
            "everloop invoke helper 'Run the shell command `uname -a`.'",
            "everloop invoke helper --session-id monday 'And what day is it?'",
            "git diff | everloop invoke reviewer --json",
            "everloop invoke careful --session-id monday --answer tooluse_abc=y",
            "EVERLOOP_BEARER_TOKEN=$(get-token) everloop invoke arn:aws:... 'Hello'",
        ),
    )(invoke)


def invoke(
    harness: HarnessArgument,
    text: TextArgument = None,
    session_id: SessionOption = None,
    answer: AnswerOption = None,
    invocation_id: InvocationOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the raw events, one JSON object a line.")
    ] = False,
    qualifier: Annotated[
        str | None, typer.Option(metavar="ENDPOINT", help="Named endpoint of the harness.")
    ] = None,
    actor_id: Annotated[
        str | None, typer.Option(metavar="ID", help="On whose behalf it runs.")
    ] = None,
    model: ModelOption = None,
    model_provider: ProviderOption = None,
    api_key_arn: ApiKeyOption = None,
    api_base: ApiBaseOption = None,
    system_prompt: SystemPromptOption = None,
    tool_file: ToolFileOption = None,
    inline_function: InlineFunctionOption = None,
    allowed_tool: AllowedToolOption = None,
    max_iterations: MaxIterationsOption = None,
    max_tokens: MaxTokensOption = None,
    timeout_seconds: TimeoutOption = None,
    bearer_token: BearerOption = None,
    cancel_on_interrupt: Annotated[
        bool,
        typer.Option(
            "--cancel-on-interrupt",
            help="Ctrl-C also cancels the turn; without this it goes on by itself.",
        ),
    ] = False,
    endpoint_url: EndpointOption = None,
    region: RegionOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Invoke a harness; options that define an agent hold for this call only."""
    from everloop.cli import answers, names
    from everloop.cli.aws import Aws
    from everloop.cli.connection import connect
    from everloop.cli.converse import Conversation
    from everloop.cli.output import stderr, stdout, to_json
    from everloop.cli.view import View

    definition = Definition(
        model=model,
        provider=model_provider,
        api_key_arn=api_key_arn,
        api_base=api_base,
        system_prompt=system_prompt,
        tool_files=tuple(tool_file or ()),
        inline_functions=tuple(inline_function or ()),
        allowed_tools=tuple(allowed_tool or ()),
        max_iterations=max_iterations,
        max_tokens=max_tokens,
        timeout_seconds=timeout_seconds,
    )
    key = names.invocation_id(invocation_id) if invocation_id else names.new_invocation_id()
    session = names.session_id(session_id) if session_id else names.new_session_id()
    message = _first_message(text, answer, has_session=session_id is not None)
    connection = connect(endpoint_url=endpoint_url, region=region, data_dir=data_dir)
    request = {
        "runtimeSessionId": session,
        **{"qualifier": qualifier, "actorId": actor_id},
        **definition.members(connection.region),
    }
    if bearer_token is not None:
        connection.check_may_carry_token()
    aws = Aws(connection, bearer_token=bearer_token)
    request["harnessArn"] = names.harness_arn(aws, harness)
    if session != session_id:
        stderr().print(f"session {session}", style="dim", markup=False)
    view = View(stdout())
    talk = Conversation(
        aws,
        {name: value for name, value in request.items() if value is not None},
        show=(lambda happening: None) if as_json else view.show,
        raw=(lambda event: print(to_json(event), flush=True)) if as_json else None,
    )
    asks = sys.stdin.isatty() and sys.stdout.isatty() and not as_json
    turns = _Turns(talk, harness, asks=asks, cancels=cancel_on_interrupt, connection=connection)
    turns.run(message, key)
    if not as_json:
        view.finish(talk.reader.stop_reason, talk.usage, talk.model_calls)
    if talk.reader.waits_for_answers:
        shown = answers.how_to_answer(harness, session, talk.reader.pending.values())
        stderr().print(shown, markup=False)


def _first_message(text: str | None, given: list[str] | None, *, has_session: bool) -> "Json":
    from everloop.cli import answers
    from everloop.cli.errors import UsageError

    if given:
        if text is not None:
            raise UsageError("give either a text or --answer: calls that wait are answered first")
        if not has_session:
            raise UsageError("--answer needs the --session-id of the session that waits")
        return answers.message(answers.parse_answers(given))
    if text is None and sys.stdin.isatty():
        raise UsageError("nothing to say: give a text, or pipe one in")
    said = sys.stdin.read() if text is None or text == "-" else text
    if not said.strip():
        raise UsageError("nothing to say: the text is empty")
    return {"role": "user", "content": [{"text": said}]}


@dataclass(frozen=True)
class _Turns:
    """Turns of one session; at a terminal, one after the other while calls wait for answers."""

    talk: "Conversation"
    harness: str
    asks: bool
    cancels: bool
    connection: "Connection"

    def run(self, message: "Json", key: str) -> None:
        """Run the turn; at a terminal, ask and go on until nothing waits for an answer."""
        from everloop.cli import answers, names
        from everloop.cli.errors import StreamBroken
        from everloop.cli.output import stdout

        try:
            reader = self.talk.invoke([message], key)
            while self.asks and reader.waits_for_answers:
                given = answers.ask(stdout(), reader.pending.values())
                key = names.new_invocation_id()
                reader = self.talk.invoke([answers.message(given)], key)
        except KeyboardInterrupt:
            if self.cancels:
                self._cancel(key)
            else:
                self._say_how_to_go_on(key)
            raise
        except StreamBroken:
            self._say_how_to_go_on(key)
            raise

    def _cancel(self, key: str) -> None:
        from everloop.cli import names
        from everloop.cli.aws import Aws
        from everloop.cli.output import stderr
        from everloop.sessions import Sessions

        harness_id = names.find_harness(Aws(self.connection), self.harness).harness_id
        session = self.talk.request["runtimeSessionId"]
        ended = Sessions.over(self.connection).cancel(harness_id, session, key)
        stderr().print(f"\ncancelled: {ended['state']}", style="yellow", markup=False)

    def _say_how_to_go_on(self, key: str) -> None:
        from everloop.cli.output import stderr

        where = f"--session-id {self.talk.request['runtimeSessionId']} --invocation-id {key}"
        stderr().print(
            "\nThe turn goes on without you.\n"
            f"  see the rest:  the same command again with {where}\n"
            f"  end it now:    everloop cancel {self.harness} {where}",
            markup=False,
        )
