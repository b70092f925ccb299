import time
from typing import Any

import pytest
from pydantic import ValidationError

from contracts.approvals import Approvals, judge
from contracts.conditions import Condition
from contracts.tools import BUILTIN, Repeat, ToolKind, ToolSpec


def tool(name: str, namespace: str = BUILTIN, *, destructive: bool = False) -> ToolSpec:
    return ToolSpec(name, "", ToolKind.SANDBOX, namespace, Repeat.KEYED, destructive=destructive)


def rules(*given: dict[str, Any]) -> Approvals:
    return Approvals.model_validate({"rules": list(given)})


def test_the_first_rule_that_selects_decides():
    approvals = rules(
        {"tools": ["file_*"], "action": "allow"},
        {"tools": ["@bank/pay_*"], "action": "deny", "name": "no payments"},
        {"tools": ["*"], "action": "ask", "deciders": {"users": ["ada"]}},
        {"tools": ["*"], "action": "deny"},
    )
    assert judge(approvals, tool("file_operations"), {}).action == "allow"
    payment = judge(approvals, tool("pay_now", "bank"), {})
    assert (payment.action, payment.rule, payment.name) == ("deny", 1, "no payments")
    shell = judge(approvals, tool("shell"), {})
    assert shell.action == "ask" and shell.terms and shell.terms.deciders.users == ("ada",)
    assert [each.selects for each in shell.trace] == [False, False, True]


def test_rules_are_the_same_after_they_were_stored():
    approvals = rules(
        {"tools": ["*"], "action": "deny"},
        {"tools": ["*"], "action": "ask", "required": 2, "deadlineSeconds": 5},
    )
    assert Approvals.model_validate_json(approvals.model_dump_json()) == approvals


@pytest.mark.parametrize("approvals", [None, rules()])
def test_without_a_rule_only_what_declares_itself_destructive_asks(approvals: Approvals | None):
    assert judge(approvals, tool("shell"), {}).action == "allow"
    asked = judge(approvals, tool("drop", "db", destructive=True), {})
    assert asked.action == "ask" and asked.terms and asked.terms.deciders.anybody


@pytest.mark.parametrize(
    ("operator", "value", "path", "holds"),
    [
        ("equals", 5, "/amount", True),
        ("equals", 5.0, "/amount", True),
        ("equals", True, "/one", False),
        ("equals", {"a": [1]}, "/nested", True),
        ("notEquals", 5, "/amount", False),
        ("notEquals", 5, "/absent", True),
        ("in", [1, 5], "/amount", True),
        ("in", ["x"], "/absent", False),
        ("matches", "^rm ", "/command", True),
        ("matches", "rm$", "/command", False),
        ("matches", "5", "/amount", False),
        ("greaterThan", 4, "/amount", True),
        ("greaterThan", 0, "/text", False),
        ("lessThan", 4, "/amount", False),
        ("lessThan", 6, "/list/1/amount", True),
        ("exists", True, "/list/1", True),
        ("exists", True, "/list/2", False),
        ("exists", False, "/absent", True),
        ("exists", True, "/a~1b", True),
    ],
)
def test_conditions(operator: str, value: Any, path: str, holds: bool):
    arguments = {
        "amount": 5,
        "one": 1,
        "text": "7",
        "command": "rm -rf /",
        "nested": {"a": [1]},
        "list": [0, {"amount": 3}],
        "a/b": None,
    }
    condition = Condition.model_validate({"path": path, "operator": operator, "value": value})
    assert condition.holds(arguments) is holds


def test_an_expression_that_would_backtrack_takes_linear_time():
    condition = Condition(path="/text", operator="matches", value="^(a+)+$")
    began = time.process_time()
    assert not condition.holds({"text": "a" * 200_000 + "b"})
    assert time.process_time() - began < 5, "backtracking would take longer than the universe"


@pytest.mark.parametrize(
    "rule",
    [
        {"tools": [], "action": "ask"},
        {"tools": ["a/b/c"], "action": "ask"},
        {"tools": ["*"], "action": "maybe"},
        {"tools": ["*"], "action": "allow", "required": 2},
        {"tools": ["*"], "action": "ask", "required": 0},
        {"tools": ["*"], "action": "ask", "required": 2, "deciders": {"users": ["ada"]}},
        {"tools": ["*"], "action": "ask", "onTimeout": "approve"},
        {"tools": ["*"], "action": "ask", "onTimeout": "escalate", "deadlineSeconds": 5},
        {
            "tools": ["*"],
            "action": "ask",
            "onTimeout": "escalate",
            "deadlineSeconds": 5,
            "escalateTo": {"deciders": {}},
        },
        {"tools": ["*"], "action": "ask", "deciders": {"users": ["not a name"]}},
        *(
            {"tools": ["*"], "action": "ask", "when": [{"path": "/a", **condition}]}
            for condition in (
                {"operator": "matches", "value": "("},
                {"operator": "matches", "value": "(?=a)"},
                {"operator": "matches", "value": "a" * 257},
                {"operator": "matches", "value": "(a{1000}){1000}"},
                {"operator": "greaterThan", "value": "4"},
                {"operator": "in", "value": 4},
                {"operator": "exists", "value": "yes"},
                {"operator": "like", "value": "x"},
            )
        ),
        {"tools": ["*"], "action": "ask", "when": [{"path": "a", "operator": "exists"}]},
    ],
)
def test_rules_that_mean_nothing_are_refused(rule: dict[str, Any]):
    with pytest.raises(ValidationError):
        rules(rule)
