"""Layouts of text datasets. The datasets' authors fixed the wording of the prompts around the
columns; it must not change, or results cannot be compared.
"""

from __future__ import annotations

from llmbench_locust.json_types import JsonValue
from llmbench_locust.workload.choose import fits
from llmbench_locust.workload.hf.adapter import Context, Make, Row
from llmbench_locust.workload.sample import SampleRequest


def instruct_coder(row: Row, context: Context) -> SampleRequest:
    asked = (
        f"{row['input']}\n\n{row['instruction']} Just output the code, do not include any "
        "explanation."
    )
    return context.question(asked, context.output_len(200))


def asks(*path: str | int) -> Make:
    """An adapter function for the question at ``path`` in the row."""

    def make(row: Row, context: Context) -> SampleRequest:
        found: JsonValue = row
        for key in path:
            found = found[key]
        return context.question(found, context.output_len(256))

    return make


def blazedit(row: Row, context: Context) -> SampleRequest | None:
    """Only rows whose edit distance, divided by the code's length, lies between the two flags."""
    code, change, distance = row["code"], row["change_request"], row["norm_distance"]
    if not context.config.blazedit_min_distance <= distance <= context.config.blazedit_max_distance:
        return None
    asked = (
        "Given a code file, please apply the change requests and generate the new file.\n\n"
        f"Original file:\n```python\n{code}\n```\n\nChange request:\n{change}\n\n"
        'Please generate the new code file in the "New file" section below.'
    )
    return context.question(asked, context.output_len(4000))


def aimo(row: Row, context: Context) -> SampleRequest | None:
    problem, solution = row["problem"], row["solution"]
    prompt_len, solution_len = context.tokens(problem), context.tokens(solution)
    if context.config.hf_output_len is None and not fits(
        prompt_len, solution_len, most_prompt=2048, most_total=32000
    ):
        return None
    return SampleRequest(problem, prompt_len, context.output_len(solution_len))


def next_edit(row: Row, context: Context) -> SampleRequest:
    """Zed's zeta. The editable region sets the output length."""
    prompt = (
        "### Instruction:\nYou are a code completion assistant and your task is to analyze "
        "user edits and then rewrite an "
        "excerpt that the user provides, suggesting the appropriate edits within the excerpt, "
        "taking into account the cursor "
        f"location.\n\n### User Edits:\n\n{row['events']}\n\n### User "
        f"Excerpt:\n\n{row['input']}\n\n### Response:\n\n"
    )
    reference = row["output"]
    region = reference[max(reference.find("<|editable_region_start|>"), 0) :]
    return SampleRequest(prompt, context.tokens(prompt), context.output_len(context.tokens(region)))


def mlperf(row: Row, context: Context) -> SampleRequest | None:
    messages = [
        {"role": "system", "content": row["system_prompt"]},
        {"role": "user", "content": row["question"]},
    ]
    prompt = context.templated(messages)
    prompt_len = context.tokens(prompt)
    output_len = context.output_len(context.tokens(row["output"], special=False))
    return SampleRequest(prompt, prompt_len, output_len) if fits(prompt_len, output_len) else None


def by_column(row: Row, context: Context) -> SampleRequest | None:
    """Any dataset: ``--hf-prompt-column``, and ``--hf-output-column`` (a text or a number) for the
    output length.

    A prompt may also be a list of chat messages; those up to the last user message are sent.
    """
    config = context.config
    asked = row[config.hf_prompt_column or ""]
    output_len = 256
    if config.hf_output_column is not None:
        answer = row[config.hf_output_column]
        output_len = (
            answer if isinstance(answer, int) else context.tokens(str(answer or ""), special=False)
        )
    output_len = context.output_len(output_len)
    if not asked or output_len < 1:
        return None
    if isinstance(asked, list):
        return _messages(asked, context, output_len)
    text = str(asked)
    if (
        config.backend_info.chat
        or config.skip_chat_template
        or context.tokenizer.chat_template is None
    ):
        return SampleRequest(text, context.tokens(text), output_len)
    return context.question(text, output_len)


def _messages(asked: list[Row], context: Context, output_len: int) -> SampleRequest | None:
    messages = [{"role": m["role"], "content": m["content"]} for m in asked]
    while messages and messages[-1]["role"] != "user":
        messages.pop()
    if not messages:
        return None
    if context.config.backend_info.chat:
        text = "\n".join(str(m["content"]) for m in messages)
        return SampleRequest(
            str(messages[-1]["content"]), context.tokens(text), output_len, chat_messages=messages
        )
    prompt = context.templated(messages)
    return SampleRequest(prompt, context.tokens(prompt), output_len)
