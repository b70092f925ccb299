"""Every side effect that a workflow asks for, one package per concern."""
