"""Model calls: the neutral transcript out to a provider, its stream back into the store.

`gateway` is the one file that imports LiteLLM, and late. `mapping` chooses provider and parameters,
`translate` writes the transcript as the provider reads it, `assemble` makes a settled message of
the stream, `failures` judges what went wrong, `writer` carries pieces to the log, `call` is the
activity, `demo` a scripted model to try it all without a provider's key.
"""
