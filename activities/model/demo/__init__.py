"""The scripted demo model: rules, not a language model, and it says so.

It lets the whole path run without any provider's key: the durable loop, LiteLLM, real tools, a
real approval. It is served over HTTP in OpenAI's chat completions protocol
(`python -m activities.model.demo`) and chosen as `demo/scripted`.

It reads the newest text of the user, and what was called and answered since. It understands, in
any order and number, one instruction after the other:

- Run the shell command `...`. Several commands run one after the other, each in a model call of its
  own; a sentence that says "in parallel" or "at the same time" asks for its commands all at once.
- Write the file `path` with `content`. ("containing" does as well.)
- Read the file `path`.
- Ask for approval. It calls the first offered tool that is not `shell` or `file_operations`, its
  arguments filled in from its schema, and says whether the answer was a yes. After a no it does
  nothing more.
- Repeat 5 times: followed by any of the above, up to the end of the sentence.
- Count to 20.

At the end it says what came out; when a structured result is asked for, it gives one whose members
are filled in from the schema. To anything else it answers what it is and what it understands.
The same conversation always gives the same answer.
"""
