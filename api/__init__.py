"""The AWS wire: both services of Amazon Bedrock AgentCore on one port, driven by their own models.

`app` shows the way of a request, step by step. `model` says which operations exist; `parse`,
`validate` and `serialise` turn the wire into values and back; `handlers` do the work; `stream` and
`render` show a session's event log as AWS's event stream.
"""
